"""A component that changes nothing and writes down which sites it was asked at."""

from reidtune.tuning.component import Component


class Recorder(Component):
    """Serves every site of both towers and writes down what it saw."""

    towers = ("image", "text")

    def __init__(self):
        super().__init__()
        self.seen = []

    def embed(self, walk, place, tokens):
        self.seen.append((walk.kind, "embed", place))
        return tokens

    def tokens(self, walk, layer, tokens):
        self.seen.append((walk.kind, "tokens", layer))
        return tokens

    def norm(self, walk, layer, name, tokens, normed):
        self.seen.append((walk.kind, "norm", layer, name))
        return normed

    def weight(self, walk, name, value):
        self.seen.append((walk.kind, "weight", name))
        return value

    def linear(self, walk, layer, name, inputs, outputs):
        assert (inputs.shape[-1], outputs.shape[-1]) == walk.tower.linear_shape(name)
        self.seen.append((walk.kind, "linear", layer, name))
        return outputs

    def key_value(self, walk, layer, key, value):
        self.seen.append((walk.kind, "key_value", layer))
        return key, value

    def attention(self, walk, layer, tokens, attended):
        self.seen.append((walk.kind, "attention", layer))
        return tokens

    def beside_mlp(self, walk, layer, tokens):
        self.seen.append((walk.kind, "beside_mlp", layer))

    def block(self, walk, layer, tokens):
        self.seen.append((walk.kind, "block", layer))
        return tokens

    def pool(self, walk, tokens, feature):
        self.seen.append((walk.kind, "pool"))
        return feature

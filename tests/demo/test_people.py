from dataclasses import fields

from reidtune.demo.people import COLOURS, make_people


def test_a_longer_list_starts_with_the_shorter_one():
    assert make_people(25, seed=4)[:9] == make_people(9, seed=4)


def test_another_seed_makes_other_people():
    assert make_people(5, seed=0) != make_people(5, seed=1)


def test_some_people_are_near_look_alikes_and_none_are_the_same():
    people = make_people(100, seed=0)
    names = [field.name for field in fields(people[0]) if field.name not in ("number", "stature", "girth")]

    def differences(a, b):
        different = 0
        for name in names:
            x, y = getattr(a, name), getattr(b, name)
            if name in ("upper", "lower"):  # the same garment of another dye lot counts as the same
                x, y = ((g.kind, g.colour, g.pattern, g.second if g.pattern != "plain" else "") for g in (x, y))
            different += x != y
        return different

    nearest = [min(differences(a, b) for b in people if b is not a) for a in people]
    assert sum(count <= 5 for count in nearest) >= 30
    described = {
        (p.upper.rgb, p.lower.rgb, p.stature, p.girth, p.hair, p.bag, p.hat, p.shoes, p.glasses) for p in people
    }
    assert len(described) == 100


def test_near_infrared_reflectance_is_not_the_visible_brightness():
    people = make_people(200, seed=0)
    black = [p.upper.near for p in people if p.upper.colour == "black"]
    assert max(black) > 0.7 and min(black) < 0.4
    assert {p.upper.colour for p in people} == set(COLOURS)

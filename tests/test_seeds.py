from reidtune.seeds import derive_seed


def test_a_seed_is_the_same_everywhere_and_depends_on_every_part():
    assert derive_seed("item", 0, 1, 2) == 2072402567302199861
    assert len({derive_seed(*parts) for parts in [(1, 2), (2, 1), (12,), ("1", "2", ""), (1, 2, 3)]}) == 5
    assert all(0 <= derive_seed(i) < 2**63 for i in range(100))

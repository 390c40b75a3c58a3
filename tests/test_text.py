from contrabench.text import counted


def test_one_is_not_many():
    assert [counted(n, "patient") for n in (0, 1, 2)] == ["0 patients", "1 patient", "2 patients"]

from __future__ import annotations

from pathlib import Path

import pytest

from components.artifacts.nomenclature import IGNORE
from components.errors import GeoductError
from components.label.corine import CODES
from components.label.legend import load_legend, shipped, value_of


def test_corine_has_its_classes_at_each_level() -> None:
    counts = {name: len(load_legend(name).nomenclature) for name in shipped()}
    assert counts == {"corine-1": 5, "corine-2": 15, "corine-3": 44, "bigearthnet-19": 19, "scl-land-cover": 4}
    for name in ("corine-1", "corine-2", "corine-3"):
        legend = load_legend(name)
        assert set(legend.index) == set(CODES)
        # A class of a level is made of the codes that begin with its own.
        assert all(str(value).startswith(legend.nomenclature.codes[i]) for value, i in legend.index.items())


def test_bigearthnet_uses_32_codes_and_names_the_12_that_it_ignores() -> None:
    legend = load_legend("bigearthnet-19")
    assert len(legend.index) == 32
    assert legend.ignored == {122, 123, 124, 131, 132, 133, 141, 142, 332, 334, 335, 423}
    assert legend.ignored | set(legend.index) == set(CODES)
    assert legend.nomenclature.names[legend.index[333]] == "Natural grassland and sparsely vegetated areas"


def test_official_names_and_colours_of_level_3() -> None:
    classes = {c.code: (c.name, c.colour) for c in load_legend("corine-3").nomenclature}
    assert classes["111"] == ("Continuous urban fabric", "#e6004d")
    assert classes["312"] == ("Coniferous forest", "#00a600")
    assert classes["523"] == ("Sea and ocean", "#e6f2ff")


@pytest.mark.parametrize("grid", [True, False])
def test_corine_is_understood_as_grid_codes_and_as_codes(grid: bool) -> None:
    legend = load_legend("corine-2")
    values = {112: "11", 231: "23", 311: "31", 523: "52"}
    given = {(CODES.index(code) + 1 if grid else code): expected for code, expected in values.items()}
    classes, style = legend.resolve([*given, 48], "x.tif")
    assert style == ("CORINE grid codes 1 to 44" if grid else "CORINE codes 111 to 523")
    assert {v: legend.nomenclature.codes[i] for v, i in classes.items() if i != IGNORE} == given
    assert classes[48] == IGNORE


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ([111, 112, 250, 311], "x.tif: 1 of 4 distinct values are no CORINE code (250); expected codes 111 to 523"),
        ([1, 2, 44, 77], "x.tif: 1 of 4 distinct values are no CORINE code (77); expected grid codes 1 to 44"),
        ([1, 2, 3, 111], "x.tif: 1 of 4 distinct values are no CORINE code (111); expected grid codes 1 to 44"),
        ([700, 800], "expected grid codes 1 to 44 or codes 111 to 523"),
    ],
)
def test_values_that_are_no_corine_code_are_named(values: list[int], sentence: str) -> None:
    with pytest.raises(GeoductError) as caught:
        load_legend("corine-3").resolve(values, "x.tif")
    assert sentence in str(caught.value)


def test_values_come_in_one_form() -> None:
    assert [value_of(v) for v in (311, 311.0, "311", " 311 ", "forest", None, float("nan"), "", 1.5)] == [
        *(311, 311, 311, 311, "forest", None, None, None, "1.5")
    ]


def test_own_nomenclature(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        "name: mine\nclasses:\n"
        '  - {code: w, name: Water, colour: "#0000ff", values: [7, lake]}\n'
        '  - {code: 3, name: Wood, colour: "#00FF00"}\n'
        "ignore: [0]\n"
    )
    legend = load_legend(str(file))
    assert legend.nomenclature.codes == ["w", "3"]
    assert dict(legend.index) == {7: 0, "lake": 0, 3: 1}
    assert legend.resolve([7, 3, 0, 99], "x.tif")[0] == {7: 0, 3: 1, 0: IGNORE, 99: IGNORE}


CLASS = '{code: 1, name: a, colour: "#000000"}'


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("name: x\nclasses: [{code: 1, name: a, colour: red}]", "classes[0].colour: String should match"),
        ("name: x\nclasses: [{code: 1, colour: '#000000'}]", "classes[0].name: Field required"),
        (f"name: x\nclasses: [{CLASS}]\ncolors: 3", "colors: Extra inputs are not permitted"),
        (f"classes: [{CLASS}]", "name: Field required"),
        ("name: x\nclasses: []", "classes: List should have at least 1 item"),
        ("- 1\n- 2", "the file: Input should be a valid dictionary"),
        ("name: [", "is not YAML: while parsing"),
        (f"name: x\nclasses: [{CLASS}, {CLASS}]", "lists code '1' twice"),
        (
            f'name: x\nclasses: [{CLASS}, {{code: 2, name: b, colour: "#000000", values: [1]}}]',
            "classes[1].values: 1 is listed twice",
        ),
        (f"name: x\nscheme: corine\nclasses: [{CLASS}]", "classes[0].values: '1' is no CORINE level-3 code"),
    ],
)
def test_faults_of_a_nomenclature_file_are_named(tmp_path: Path, text: str, sentence: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(GeoductError) as caught:
        load_legend(str(file))
    assert sentence in str(caught.value)


def test_unknown_nomenclature_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(GeoductError, match=r"'corrine-2' is unknown; did you mean 'corine-2'\?"):
        load_legend("corrine-2")
    with pytest.raises(GeoductError, match=r"missing\.yaml does not exist"):
        load_legend(str(tmp_path / "missing.yaml"))

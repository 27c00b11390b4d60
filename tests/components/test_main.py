"""The command line before any component: what its tools say of themselves."""

from __future__ import annotations

import pytest

from components.__main__ import TOOLS, dispatch


@pytest.mark.parametrize("tool", ["verify", "experiment"])
def test_a_tool_that_is_asked_for_help_gives_it(tool: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert dispatch([tool, "--help"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"usage: geoduct {tool} ")
    assert TOOLS[tool] in said


def test_a_default_that_is_empty_is_told_as_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        dispatch(["finetune", "--help"])
    assert ended.value.code == 0
    assert "[one or more of: text; default: nothing]" in " ".join(capsys.readouterr().out.split())

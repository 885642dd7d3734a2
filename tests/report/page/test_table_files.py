"""A table as LaTeX and CSV: its own texts, whatever characters they have."""

from __future__ import annotations

import csv
import io

from dwp_sweep.errors import visible
from dwp_sweep.report.page.table_files import csv_text, latex, latex_of
from tests.hostile_texts import any_text
from tests.test_tables import TABLE


def test_latex_holds_the_table_with_its_own_characters_escaped() -> None:
    text = latex_of(TABLE, "tab:toy_scores")
    assert r"a\_b $<$i$>$ $|$ [red] & \textbf{0.7} \\" in text
    assert r"\caption{Scores \& more.}" in text and r"\label{tab:toy-scores}" in text


@any_text
def test_any_text_comes_back_from_csv(text: str) -> None:
    written = csv_text([["name", "value"], [text, 1.5], [1, text]])
    assert list(csv.reader(io.StringIO(written, newline=""))) == [
        ["name", "value"], [text, "1.5"], ["1", text],
    ]  # fmt: skip


COMMANDS = {
    r"\textbackslash{}": "\\", r"\&": "&", r"\%": "%", r"\$": "$", r"\#": "#", r"\_": "_", r"\{": "{",
    r"\}": "}", r"\textasciitilde{}": "~", r"\textasciicircum{}": "^", r"$\times$": "×", r"$-$": "−",
    r"$<$": "<", r"$>$": ">", r"$|$": "|", r"\textasciigrave{}": "`", "{}": "",
}  # fmt: skip


@any_text
def test_any_text_is_one_cell_of_latex(text: str) -> None:
    written, read, place = latex(text), "", 0
    assert not written.startswith(("[", "(", "*")), "an option of the end of the row above"
    assert "--" not in written and "\n" not in written
    while place < len(written):
        command = next((name for name in COMMANDS if written.startswith(name, place)), None)
        assert command or written[place] not in "\\{}$&#^_%~<>|`", written[place:]
        read += COMMANDS[command] if command else written[place]
        place += len(command) if command else 1
    assert read == visible(text, one_line=True)

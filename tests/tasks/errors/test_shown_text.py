"""Text from outside is shown as it is: no markup of it acts, and nothing in it hides or moves other text."""

import html
import logging
import re
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from tasks.errors.input import refused
from tasks.errors.run import ExtractionFailedError
from tasks.errors.shown_text import markdown, markdown_code, plain
from tasks.prefect_io.flow_run import run_logger

MARKUP = [
    "<script>alert(1)</script>",
    "<img src=http://a.example/x.png onerror=alert(1)>",
    "[x](javascript:alert(1))",
    "![x](http://a.example/x.png)",
    "<http://a.example>",
    "http://a.example/x",
    "www.a.example",
    "a@b.example",
    "a | b",
    "`code` ``",
    "*a* _b_ ~~c~~ **d**",
    "# head",
    "- item",
    "1. item",
    "> quote",
    "---",
    "a\nb\n\n| c |",
    "&lt;b&gt; &#60;",
    "\\| \\`",
    "[x]: http://a.example",
    "{{ a }} ${b}",
    "```\nfence",
]
HARMLESS = [
    "LANDSAT/LC08/C02/T1_TOA/LC08_044034_20140318",
    "2020-05-18T134211Z.tif",
    "植被",
    "São Tomé",
    "-5.5",
    "a: b, c",
]
RENDERER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


def cell(written: str) -> str:
    """What a browser shows of a cell, after a check that nothing but the table became an element."""
    rendered = RENDERER.render(f"| a | b |\n|---|---|\n| x | {written} |\n")
    elements = set(re.findall(r"</?(\w+)", rendered))
    assert elements <= {"table", "thead", "tbody", "tr", "th", "td", "code"}, rendered
    cells = re.findall(r"<td>(.*?)</td>", rendered, re.DOTALL)
    assert len(cells) == 2, rendered
    return html.unescape(re.sub(r"</?code>", "", cells[1]))


@pytest.mark.parametrize("text", MARKUP + HARMLESS)
def test_markup_is_shown_as_text(text):
    for show in (markdown, markdown_code):
        assert cell(show(text)).strip() == plain(text).strip()
        # Links that a renderer makes of bare addresses.
        assert not re.search(r"(https?|ftp)://|www\.\S|\w@\w", show(text)) or show(text).startswith("`")


@given(st.text(alphabet=st.sampled_from("ab1 <>&|`*_[]()!#-+.\\\n\r\t~=:/@\x1b\u202e\u200b"), max_size=25))
@settings(deadline=None, max_examples=300)
def test_any_text_is_one_cell_and_one_paragraph(text):
    for show in (markdown, markdown_code):
        assert " ".join(cell(show(text)).split()) == " ".join(plain(text).split())
        alone = RENDERER.render(f"- {markdown('name')}: {show(text)}\n")
        assert set(re.findall(r"<(\w+)", alone)) <= {"ul", "li", "code"}, alone


@pytest.mark.parametrize("text", HARMLESS)
def test_common_names_stay_as_they_are(text):
    assert markdown(text) == plain(text) == text


@given(st.text(max_size=30))
@settings(deadline=None, max_examples=200)
def test_plain_text_has_no_hidden_character(text):
    for shown in (plain(text), markdown(text)):
        assert not {unicodedata.category(each) for each in shown} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
        shown.encode()
    assert plain(plain(text)) == plain(text)


def test_what_is_hidden_is_written_out():
    assert plain("a\x1b[31mb\u202ec\u200b\r\n\x00\u2028\ud800") == (r"a\x1b[31mb\u202ec\u200b\r\n\x00\u2028\ud800")
    assert plain("a\n\tb\x07", lines=True) == "a\n\tb\\x07"


def test_errors_are_plain():
    text = "a\x1b[2Jb\u202ec"
    for error in (refused("region", text, text, text), ExtractionFailedError(text)):
        assert not re.search("[\x1b\u202e]", str(error))


def test_the_log_is_plain_and_no_line_of_a_message_begins_where_a_message_begins(caplog):
    with caplog.at_level(logging.INFO, "pixel_quarry"):
        run_logger().info("read %s", "a\x1b[31m\u202e\n12:00:00 | ERROR | forged")
    assert caplog.messages == ["read a\\x1b[31m\\u202e\n    12:00:00 | ERROR | forged"]

"""``Image.expression``: arithmetic written as text, parsed into calls of the table's functions."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from deployments.sandbox.interpreter.coercion import coerce
from deployments.sandbox.interpreter.images import select
from deployments.sandbox.interpreter.masks import choose
from deployments.sandbox.interpreter.registry import FUNCTIONS, function
from deployments.sandbox.interpreter.values import Algorithm
from deployments.sandbox.raster import Image
from deployments.sandbox.refusal import Refusal

Values = Mapping[str, Any]
Code = Callable[[Values], Any]

TOKEN = re.compile(
    r"\s*(?:(?P<number>0[xX][0-9a-fA-F]+|(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)"
    r"|(?P<name>[A-Za-z_]\w*)|(?P<text>'[^']*'|\"[^\"]*\")"
    r"|(?P<sign>\*\*|<<|>>|<=|>=|==|!=|&&|\|\||[-+*/%<>=!~&|^?:()\[\],.]))"
)
# Weakest first, as in C and JavaScript.
BINARY: tuple[Mapping[str, str], ...] = (
    {"||": "or"},
    {"&&": "and"},
    {"|": "bitwiseOr"},
    {"^": "bitwiseXor"},
    {"&": "bitwiseAnd"},
    {"==": "eq", "!=": "neq"},
    {"<": "lt", ">": "gt", "<=": "lte", ">=": "gte"},
    {"<<": "leftShift", ">>": "rightShift"},
    {"+": "add", "-": "subtract"},
    {"*": "multiply", "/": "divide", "%": "mod"},
)
CONSTANTS: Mapping[str, float] = {"PI": math.pi, "E": math.e}


@dataclass(frozen=True)
class Token:
    """A word of an expression."""

    kind: str
    text: str


def tokens(text: str) -> list[Token]:
    """Return the words of an expression.

    Raises:
        Refusal: 400, a character that no word begins with.
    """
    found, place = [], 0
    stripped = text.rstrip()
    while place < len(stripped):
        match = TOKEN.match(stripped, place)
        if match is None:
            raise Refusal(f"Image.parseExpression: Unexpected character at {place} in '{text}'.")
        assert match.lastgroup is not None
        found.append(Token(match.lastgroup, match.group(match.lastgroup)))
        place = match.end()
    return [*found, Token("end", "")]


def _image(value: Any) -> Image:
    made: Image = coerce(value, "Image", "Image.expression")
    return made


def _call(name: str, *arguments: Any) -> Any:
    return FUNCTIONS[f"Image.{name}"].implementation(*(_image(a) for a in arguments))


class Parser:
    """A parser by recursive descent; each method returns code from variables to a value."""

    def __init__(self, text: str, default: str) -> None:
        self.text = text
        self.default = default
        self.tokens = tokens(text)
        self.place = 0

    def parse(self) -> Code:
        """Return the code of a whole expression, perhaps with a name for its band."""
        name = None
        if self.tokens[0].kind == "name" and self.tokens[1].text == "=":
            name = self.tokens[0].text
            self.place = 2
        code = self._ternary()
        if self._peek().kind != "end":
            self._fail()
        if name is None:
            return code

        def named(values: Values) -> Image:
            image = _image(code(values))
            if len(image.bands) != 1:
                raise Refusal("Image.expression: Only a result of one band can be assigned a name.")
            return replace(image, bands=(replace(image.bands[0], id=name),))

        return named

    def _peek(self) -> Token:
        return self.tokens[self.place]

    def _take(self, text: str) -> bool:
        token = self._peek()
        if token.kind == "sign" and token.text == text:
            self.place += 1
            return True
        return False

    def _expect(self, text: str) -> None:
        if not self._take(text):
            self._fail()

    def _fail(self) -> None:
        found = self._peek().text or "end of expression"
        raise Refusal(f"Image.parseExpression: Unexpected '{found}' in expression '{self.text}'.")

    def _ternary(self) -> Code:
        test = self._binary(0)
        if not self._take("?"):
            return test
        yes = self._ternary()
        self._expect(":")
        no = self._ternary()
        return lambda v: choose(_image(test(v)), _image(yes(v)), _image(no(v)))

    def _binary(self, level: int) -> Code:
        if level == len(BINARY):
            return self._unary()
        left = self._binary(level + 1)
        while self._peek().kind == "sign" and self._peek().text in BINARY[level]:
            name = BINARY[level][self._peek().text]
            self.place += 1
            left = _operation(name, left, self._binary(level + 1))
        return left

    def _unary(self) -> Code:
        if self._take("-"):
            return _operation("multiply", self._unary(), lambda _v: -1)
        if self._take("+"):
            return self._unary()
        for sign, name in (("!", "not"), ("~", "bitwiseNot")):
            if self._take(sign):
                return _operation(name, self._unary())
        return self._power()

    def _power(self) -> Code:
        base = self._postfix()
        # Right-associative, and stronger than a sign before it: -a ** 2 is -(a ** 2).
        return _operation("pow", base, self._unary()) if self._take("**") else base

    def _postfix(self) -> Code:
        code = self._primary()
        while True:
            if self._take("."):
                token = self._peek()
                if token.kind != "name":
                    self._fail()
                self.place += 1
                code = _bands(code, [token.text])
            elif self._take("["):
                code = _bands(code, self._selectors("]"))
            else:
                return code

    def _selectors(self, closing: str) -> list[Any]:
        found: list[Any] = []
        while not self._take(closing):
            token = self._peek()
            if token.kind not in {"text", "number"}:
                self._fail()
            self.place += 1
            found.append(token.text[1:-1] if token.kind == "text" else int(float(token.text)))
            if not self._take(",") and self._peek().text != closing:
                self._fail()
        return found

    def _primary(self) -> Code:
        token = self._peek()
        if self._take("("):
            inner = self._ternary()
            self._expect(")")
            return inner
        self.place += 1
        if token.kind == "number":
            value = _number(token.text)
            return lambda _v: value
        if token.kind == "name":
            return self._call(token.text) if self._take("(") else self._variable(token.text)
        self.place -= 1
        self._fail()
        raise AssertionError

    def _variable(self, name: str) -> Code:
        def read(values: Values) -> Any:
            if name in values:
                return values[name]
            if name in CONSTANTS:
                return CONSTANTS[name]
            raise Refusal(f"Image.parseExpression: Unknown variable '{name}' in expression '{self.text}'.")

        return read

    def _call(self, name: str) -> Code:
        if name == "b":
            selectors = self._selectors(")")
            whole = self._variable(self.default)
            return _bands(whole, selectors) if selectors else whole
        arguments: list[Code] = []
        while not self._take(")"):
            arguments.append(self._ternary())
            if not self._take(",") and self._peek().text != ")":
                self._fail()
        row = FUNCTIONS.get(f"Image.{name}")
        if row is None or any(a.type != "Image<unknown bands>" for a in row.arguments):
            raise Refusal(f"Image.parseExpression: Unknown function '{name}' in expression '{self.text}'.")
        if len(arguments) > 2 and name in {"min", "max"}:
            folded = arguments[0]
            for argument in arguments[1:]:
                folded = _operation(name, folded, argument)
            return folded
        if len(arguments) != len(row.arguments):
            raise Refusal(f"Image.parseExpression: '{name}' takes {len(row.arguments)} arguments.")
        return _operation(name, *arguments)


def _number(text: str) -> float:
    if text[:2] in {"0x", "0X"}:
        return int(text, 16)
    return int(text) if text.isdigit() else float(text)


def _operation(name: str, *operands: Code) -> Code:
    return lambda values: _call(name, *(operand(values) for operand in operands))


def _bands(code: Code, selectors: list[Any]) -> Code:
    return lambda values: select(_image(code(values)), selectors, None)


@function("Image.parseExpression")
def parse_expression(expression: str, argument: str, names: list[str]) -> Algorithm:
    """Parse an expression into a function of a default image and other images by name."""
    code = Parser(expression, argument).parse()

    def run(values: Values) -> Image:
        return _image(code(values))

    return Algorithm(tuple(names), run)

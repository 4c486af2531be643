"""From the JSON of an expression to its value."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from deployments.sandbox.catalogue import Catalogue
from deployments.sandbox.interpreter import registry
from deployments.sandbox.interpreter.budget import Budget
from deployments.sandbox.interpreter.pixels import guarded, remembered
from deployments.sandbox.interpreter.values import Algorithm
from deployments.sandbox.refusal import Refusal

Node = Mapping[str, Any]
T = TypeVar("T")
# Source: "the backend limit is 100" (ee/serializer.py); invocations nest by two levels of JSON there.
DEPTH_LIMIT = 250


@dataclass
class Scope:
    """Arguments of one call of a function definition, and what was computed from them."""

    arguments: Mapping[str, Any] = field(default_factory=dict)
    parent: Scope | None = None
    depth: int = 0
    done: dict[str, Any] = field(default_factory=dict)

    def argument(self, name: str) -> Any:
        """Return an argument of this call or of one around it."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.arguments:
                return scope.arguments[name]
            scope = scope.parent
        raise Refusal(f"Invalid expression: argumentReference '{name}' is not bound by a function.")

    def owner(self, names: frozenset[str]) -> Scope:
        """Return the innermost scope that binds one of these names, or the outermost of all."""
        scope = self
        while scope.parent is not None and not (names & scope.arguments.keys()):
            scope = scope.parent
        return scope


class Evaluator:
    """One evaluation: values by key are computed once for each scope that they depend on."""

    def __init__(self, values: Mapping[str, Node], catalogue: Catalogue) -> None:
        self.values = values
        self.catalogue = catalogue
        self.budget = Budget()
        self._free: dict[str, frozenset[str]] = {}
        self._open: set[tuple[int, str]] = set()

    def key(self, key: Any, scope: Scope, depth: int) -> Any:
        """Return the value of a key of ``values``."""
        if not isinstance(key, str) or key not in self.values:
            raise Refusal(f"Invalid expression: no value of key '{key}'.")
        owner = scope.owner(self.free_of_key(key))
        if key not in owner.done:
            mark = (id(owner), key)
            if mark in self._open:
                raise Refusal(f"Invalid expression: the value of key '{key}' refers to itself.")
            self._open.add(mark)
            try:
                owner.done[key] = remembered(self.node(self.values[key], owner, depth + 1))
            finally:
                self._open.discard(mark)
        return owner.done[key]

    def node(self, node: Any, scope: Scope, depth: int) -> Any:
        """Return the value of a node of any kind."""
        self.budget.step()
        if depth > DEPTH_LIMIT:
            raise Refusal("Expression is too deeply nested.")
        if not isinstance(node, Mapping) or len(node) != 1:
            raise Refusal("Invalid expression: a value must have exactly one kind.")
        ((kind, content),) = node.items()
        handler = self._handlers().get(kind)
        if handler is None:
            raise Refusal(f"Invalid expression: unknown kind of value '{kind}'.")
        return handler(content, scope, depth + 1)

    def _handlers(self) -> Mapping[str, Callable[[Any, Scope, int], Any]]:
        return {
            "constantValue": lambda content, _scope, _depth: _constant(content),
            "integerValue": lambda content, _scope, _depth: _integer(content),
            "bytesValue": lambda content, _scope, _depth: _bytes(content),
            "arrayValue": self._array,
            "dictionaryValue": self._dictionary,
            "functionDefinitionValue": self._definition,
            "functionInvocationValue": self._invocation,
            "argumentReference": lambda content, scope, _depth: scope.argument(content),
            "valueReference": self.key,
        }

    def _array(self, content: Any, scope: Scope, depth: int) -> list[Any]:
        return self._spend([self.node(part, scope, depth) for part in _part(content, "values", list, [])])

    def _dictionary(self, content: Any, scope: Scope, depth: int) -> dict[str, Any]:
        parts = _part(content, "values", Mapping, {})
        return self._spend({name: self.node(part, scope, depth) for name, part in parts.items()})

    def _spend(self, value: T) -> T:
        self.budget.spend(value)
        return value

    def _definition(self, content: Any, scope: Scope, depth: int) -> Algorithm:
        names = tuple(_part(content, "argumentNames", list, []))
        body = content.get("body")

        def run(arguments: Mapping[str, Any]) -> Any:
            missing = [name for name in names if name not in arguments]
            if missing:
                raise Refusal(f"A mapped function was called without its argument '{missing[0]}'.")
            bound = {name: arguments[name] for name in names}
            return self.key(body, Scope(bound, scope, scope.depth + 1), depth)

        return Algorithm(names, run)

    def _invocation(self, content: Any, scope: Scope, depth: int) -> Any:
        arguments = _part(content, "arguments", Mapping, {})
        name = content.get("functionName")
        if name == "If":
            return self._if(arguments, scope, depth)
        if name is not None:
            registry.find(name)  # a function that is not supported is named before its arguments are computed
        given = {key: self.node(part, scope, depth) for key, part in arguments.items()}
        if name is not None:
            return self._spend(registry.call(name, given, self.catalogue))
        algorithm = self.key(content.get("functionReference"), scope, depth)
        if not isinstance(algorithm, Algorithm):
            raise Refusal("Invalid expression: functionReference does not name a function.")
        return algorithm.body(given)

    def _if(self, arguments: Mapping[str, Any], scope: Scope, depth: int) -> Any:
        """Compute the chosen case only: the other may well be one that cannot be computed."""
        condition = self.node(arguments["condition"], scope, depth) if "condition" in arguments else None
        chosen = "trueCase" if truth(condition) else "falseCase"
        return self.node(arguments[chosen], scope, depth) if chosen in arguments else None

    def free_of_key(self, key: str) -> frozenset[str]:
        """Return the names of arguments that a key's value depends on."""
        if key not in self._free:
            self._free[key] = frozenset()  # a cycle adds nothing; it is refused when it is evaluated
            self._free[key] = self._free_of(self.values.get(key))
        return self._free[key]

    def _free_of(self, node: Any) -> frozenset[str]:
        if isinstance(node, list):
            return frozenset().union(*(self._free_of(part) for part in node))
        if not isinstance(node, Mapping):
            return frozenset()
        found: frozenset[str] = frozenset()
        for kind, content in node.items():
            if kind == "constantValue":
                continue
            if kind == "argumentReference":
                found |= {content}
            elif kind in {"valueReference", "functionReference"}:
                found |= self.free_of_key(content) if isinstance(content, str) else frozenset()
            elif kind == "functionDefinitionValue" and isinstance(content, Mapping):
                bound = frozenset(content.get("argumentNames", []))
                found |= self.free_of_key(str(content.get("body"))) - bound
            else:
                found |= self._free_of(content)
        return found


def truth(value: Any) -> bool:
    """Return whether a value counts as true: numbers not zero, strings not empty, anything else that is."""
    return bool(value) if isinstance(value, int | float | str) else value is not None


def _part(content: Any, name: str, kind: type, default: Any) -> Any:
    part = content.get(name, default) if isinstance(content, Mapping) else None
    if not isinstance(part, kind):
        raise Refusal(f"Invalid expression: '{name}' is missing or of the wrong type.")
    return part


def _constant(content: Any) -> Any:
    """Return a constant; integers that 64 bits do not hold are the doubles that all numbers of JSON are."""
    if isinstance(content, int) and not -(2**63) <= content < 2**63:
        try:
            return float(content)
        except OverflowError:
            raise Refusal("Invalid expression: a number is too large.") from None
    return content


def _integer(content: Any) -> int:
    try:
        value = int(content)
    except (TypeError, ValueError, OverflowError):
        value = 2**63
    if not -(2**63) <= value < 2**63:
        raise Refusal(f"Invalid expression: integerValue '{str(content)[:100]}' is no integer of 64 bits.")
    return value


def _bytes(content: Any) -> bytes:
    try:
        return base64.b64decode(content, validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise Refusal("Invalid expression: bytesValue is no base64.") from None


def evaluate(expression: Mapping[str, Any], catalogue: Catalogue) -> Any:
    """Return the value of a REST ``Expression``.

    Images are lazy, immutable and may be shared between threads and requests.

    Args:
        expression: ``{"result": key, "values": {key: ValueNode}}``, as the client's serializer makes it.
        catalogue: Where assets are found.

    Returns:
        An Image, a Collection, a Geometry, a Feature, a Date, a number, a string, a list, a dictionary, or
        another value of ``values``; None for null.

    Raises:
        Refusal: 400, what Earth Engine would refuse, or what the sandbox does not support, by name.
    """
    values = _part(expression, "values", Mapping, {})
    evaluator = Evaluator(values, catalogue)
    try:
        return guarded(evaluator.key(expression.get("result"), Scope(), 0))
    except RecursionError:
        raise Refusal("Expression is too deeply nested.") from None

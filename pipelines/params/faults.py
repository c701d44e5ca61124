"""What pydantic finds wrong in params.yaml, as a sentence."""

from __future__ import annotations

import difflib
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from pipelines.errors import unknown

Schema = dict[str, Any]


def worst(error: ValidationError) -> ErrorDetails:
    """The fault to mend first: a misspelt key before the missing one it leaves behind, and a rule that is broken before the
    other forms that a value might have had."""
    order = ("extra_forbidden", "value_error")
    return min(error.errors(), key=lambda fault: order.index(fault["type"]) if fault["type"] in order else len(order))


def sentence(fault: ErrorDetails, schema: Schema) -> str:
    """A fault in words.

    Args:
        fault: of `worst`.
        schema: the JSON schema that was validated against, which knows the valid keys.
    """
    keys, _ = _follow(schema, fault["loc"])
    where = ".".join(keys)
    if fault["type"] == "extra_forbidden":
        above, nodes = _follow(schema, fault["loc"][:-1])
        where = ".".join([*above, str(fault["loc"][-1])])
        valid = {key for node in nodes for option in _options(schema, node) for key in option.get("properties", {})}
        near = difflib.get_close_matches(str(fault["loc"][-1]), valid, n=1, cutoff=0.3)
        hint = f"did you mean {near[0]!r}?" if near else f"valid here: {', '.join(sorted(valid))}."
        return f"unknown key {where!r}: {hint}"
    if fault["type"] == "union_tag_invalid":
        tag = str(fault["ctx"]["discriminator"]).strip("'")
        known = [tag.strip().strip("'") for tag in str(fault["ctx"]["expected_tags"]).split(",")]
        return f"{where}: {unknown(tag, fault['ctx']['tag'], known)}"
    if fault["type"] == "union_tag_not_found":
        return f"the key '{where}.{str(fault['ctx']['discriminator']).strip(chr(39))}' is missing: add it."
    if fault["type"] == "missing":
        return f"the key {where!r} is missing: add it."
    message = fault["msg"].removeprefix("Value error, ")
    return f"{where!r} is {fault['input']!r}: {message[0].lower()}{message[1:]}."


def _follow(schema: Schema, location: tuple[int | str, ...]) -> tuple[list[str], list[Schema]]:
    """A location as keys of the file, without the names of a union's members that pydantic puts in, and its schemas."""
    keys, nodes = [], [schema]
    for part in location:
        options = [option for node in nodes for option in _options(schema, node)]
        members = [option for option in options if _names(option, part)]
        if members:
            nodes = members
            continue
        inside = [found for option in options for found in _inside(option, part)]
        if inside:
            keys.append(str(part))
            nodes = inside
    return keys, nodes


def _options(schema: Schema, node: Schema) -> list[Schema]:
    """A node with references and unions opened."""
    if "$ref" in node:
        return _options(schema, schema["$defs"][node["$ref"].rsplit("/", 1)[1]])
    options = node.get("oneOf") or node.get("anyOf")
    return [found for option in options for found in _options(schema, option)] if options else [node]


def _names(option: Schema, part: int | str) -> bool:
    """Whether a location's part says which member of a union this is: by its tag, or by its type."""
    return part == option.get("title") or part in [value.get("const") for value in option.get("properties", {}).values()]


def _inside(option: Schema, part: int | str) -> list[Schema]:
    """What a mapping or list has at a key or index."""
    if isinstance(part, int):
        return [option["items"]] if "items" in option else option.get("prefixItems", [])[part : part + 1]
    if part in option.get("properties", {}):
        return [option["properties"][part]]
    return [option["additionalProperties"]] if isinstance(option.get("additionalProperties"), dict) else []

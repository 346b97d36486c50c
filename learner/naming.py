"""One word for a value that a file describes, for tables and file names."""

import msgspec


def word(value: msgspec.Struct) -> str:
    """Join the tag of a struct and those of its fields that differ from the defaults, as in copy-noise-0.1."""
    changed = [
        f"{field.encode_name}-{_short(own)}"
        for field in msgspec.structs.fields(value)
        if (own := getattr(value, field.name)) != field.default
    ]
    return "-".join([str(value.__struct_config__.tag), *changed])


def _short(value: object) -> str:
    if isinstance(value, msgspec.Struct):
        return word(value)
    return f"{value:g}" if isinstance(value, float) else str(value)

"""How numbers are written in tables, figures and sentences."""

_SMALL_P = 0.001


def number(value: float, decimals: int = 2) -> str:
    """Fixed decimals without leading zero: `.80`, `-.05`, `1.00`, and `.00` for what rounds to zero."""
    text = f"{value:.{decimals}f}"
    if float(text) == 0.0:
        text = text.removeprefix("-")
    return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text


def p_value(p: float) -> str:
    """Four decimals, and below .001 two digits (`2.4e-05`): never .0000, which no p-value of ours is."""
    return number(p, 4) if p >= _SMALL_P else f"{p:.1e}"


def listed(names: list[str]) -> str:
    """`1`, `1 and 2`, `1, 2 and 3`."""
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))

"""How numbers are written in tables, figures and sentences."""


def number(value: float, decimals: int = 2) -> str:
    """Fixed decimals without leading zero: `.80`, `-.05`, `1.00`, and `.00` for what rounds to zero."""
    text = f"{value:.{decimals}f}"
    if float(text) == 0.0:
        text = text.removeprefix("-")
    return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text


def listed(names: list[str]) -> str:
    """`1`, `1 and 2`, `1, 2 and 3`."""
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))

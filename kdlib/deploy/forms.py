"""Names of the orders in which a generator's operations can be done; what they do is in `kdlib.deploy.inference_form`. No PyTorch."""

FORMS = ("plain", "reordered", "transposed", "strided", "joined")


def in_form(name: str, form: str) -> str:
    """The name of a model in one of `FORMS`: as it is where that is plain."""
    return name if form == "plain" else f"{name}, {form}"

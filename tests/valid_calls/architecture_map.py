"""Right calls of `handmade.models.architecture` and of its explorable."""

from handmade.models.architecture import EQUAL_WIDTH

from valid_calls import call

CALLS = {
    "widgets.architecture_map.map_models": lambda: call(
        configs={"a": EQUAL_WIDTH["Llama"], "b": EQUAL_WIDTH["Mamba"]},
        model="b",
        length=9,
        lengths=[4, 9],
        bytes_a_number=2,
    ),
    "widgets.architecture_map.pack": lambda: call(
        name="a", config=EQUAL_WIDTH["Gemma 3"]
    ),
    "widgets.architecture_map.block_rows": lambda: call(
        config=EQUAL_WIDTH["DeepSeek"]
    ),
}

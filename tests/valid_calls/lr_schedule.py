"""Right calls of the explorable on learning-rate schedules."""

from valid_calls import call

CALLS = {
    "widgets.lr_schedule.lr_schedule": lambda: call(
        shape="linear", peak=3e-4, steps=1000, warmup=5, flat=0.5, lowest=0.1
    ),
    "widgets.lr_schedule.named_schedule": lambda: call(
        shape="linear", steps=1000, warmup=5, flat=0.5, lowest=0.1
    ),
}

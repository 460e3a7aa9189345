"""What tests of the server share."""

import pytest

from fastvits.serving.scheduler import Scheduler


@pytest.fixture
def scheduler():
    """A maker of schedulers with one thread a step, which are closed at the end."""
    made = []

    def make(workers=1, **options):
        made.append(Scheduler(workers, threads=1, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from platform_under_test import Platform


@pytest.fixture
async def platform(tmp_path: Path) -> AsyncIterator[Platform]:
    under_test = Platform(tmp_path)
    yield under_test
    await under_test.close()

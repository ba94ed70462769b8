"""The fake service of the SDK's tests."""

from tests.sdk.conftest import fake, one_fake  # noqa: F401 - fixtures

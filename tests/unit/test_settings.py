"""Settings come from defaults, then the environment, then flags; mistakes are one sentence."""

import pytest

from stoker_runtime.settings import (
    BadSetting,
    ProcessSettings,
    ServeSettings,
    known_variables,
    load,
    refuse_unknown,
    variable_of,
)

pytestmark = pytest.mark.unit


def test_an_empty_environment_gives_the_defaults() -> None:
    assert load(ServeSettings, {}) == ServeSettings()
    assert ServeSettings().drain_s == 30.0
    assert ServeSettings().quantum_s == 10.0


def test_the_environment_overrides_a_default_and_a_flag_overrides_the_environment() -> None:
    environ = {"STOKER_DRAIN_S": "5.5", "STOKER_QUANTUM_S": "3"}
    assert load(ServeSettings, environ).drain_s == 5.5
    settings = load(ServeSettings, environ, {"drain_s": 7.0, "quantum_s": None})
    assert (settings.drain_s, settings.quantum_s) == (7.0, 3.0)


def test_an_unknown_variable_is_an_error_that_names_the_nearest_one() -> None:
    with pytest.raises(BadSetting, match=r"STOKER_DRIAN_S is not a setting.*STOKER_DRAIN_S"):
        refuse_unknown({"STOKER_DRIAN_S": "5"}, ProcessSettings, ServeSettings)


def test_variables_of_others_and_known_ones_are_let_through() -> None:
    refuse_unknown({"PATH": "/bin", "STOKER_DRAIN_S": "5"}, ProcessSettings, ServeSettings)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("STOKER_DRAIN_S", "soon"),
        ("STOKER_DRAIN_S", "-1"),
        ("STOKER_DRAIN_S", "nan"),
        ("STOKER_DRAIN_S", "inf"),
        ("STOKER_DRAIN_S", ""),
        ("STOKER_QUANTUM_S", "0"),
        ("STOKER_RECORDS_KEPT", "1.5"),
        ("STOKER_RECORDS_KEPT", "0"),
    ],
)
def test_a_value_out_of_range_names_variable_and_value(variable: str, value: str) -> None:
    with pytest.raises(BadSetting) as error:
        load(ServeSettings, {variable: value})
    assert variable in str(error.value)
    assert repr(value) in str(error.value)
    assert "\n" not in str(error.value)


def test_an_unknown_choice_lists_what_is_wrong_and_a_flag_is_named_as_a_flag() -> None:
    with pytest.raises(BadSetting, match=r"STOKER_LOG_LEVEL is 'loud'.*choose one of debug, info, warning, error"):
        load(ProcessSettings, {"STOKER_LOG_LEVEL": "loud"})
    with pytest.raises(BadSetting, match="--log-format is 'xml'"):
        load(ProcessSettings, {}, {"log_format": "xml"})


def test_every_field_has_its_variable() -> None:
    assert variable_of("drain_s") == "STOKER_DRAIN_S"
    assert "STOKER_QUANTUM_S" in known_variables(ProcessSettings, ServeSettings)
    assert "STOKER_LOG_LEVEL" in known_variables(ProcessSettings, ServeSettings)

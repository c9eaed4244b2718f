"""What a client asks for in `%o` → how its session is heard."""

import difflib
from typing import Any, Dict

from pydantic import ValidationError

from boundary.settings import AskedSettings, SessionSettings, asked_session
from config.reading import value_fault
from config.sections import ServerConfig
from protocol.packets import ProtocolError, loggable


def settings_of(config: ServerConfig, fields: Dict[str, Any]) -> SessionSettings:
    """Keys and values as the client has sent them; raises ProtocolError with the first that is wrong."""
    try:
        return asked_session(config, fields)
    except ValidationError as error:
        raise ProtocolError(_fault(error.errors()[0])) from error


def _fault(fault: Any) -> str:
    key = str(fault["loc"][0])
    if fault["type"] != "extra_forbidden":
        return f"{key}: {value_fault(fault)}"
    known = list(AskedSettings.model_fields)
    near = difflib.get_close_matches(key, known, n=1)
    return f"{loggable(key)}: unknown key; {f'did you mean {near[0]}?' if near else f'expected one of {known}'}"

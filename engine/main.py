"""Where an engine's process begins. Imported by the server too, so nothing heavy before it runs."""

import logging
import os
from typing import Any

import logger
from boundary.messages import Logged, StartFailed
from boundary.settings import EngineSettings, EngineSlot
from engine.turns import Board

_log = logging.getLogger(__name__)


def engine_main(slot: EngineSlot, settings: EngineSettings, board: Board, commands: Any, answers: Any) -> None:
    """Serve one session after the other until the server is gone.

    Args:
        slot: which engine it is.
        settings: of every engine.
        board: what the other engines do.
        commands: queue from the server.
        answers: queue to the server.
    """
    # The server's ends came along; while this process holds them, it would never read that the server has died.
    commands._writer.close()
    answers._reader.close()
    logger.forward_records(settings.log_level, lambda record: answers.put(Logged(record)))
    try:
        from engine.worker import EngineWorker  # noqa: PLC0415 - torch, which the server does not load
        from forkserver import template  # noqa: PLC0415
        from recognizer.memory import is_out_of_memory  # noqa: PLC0415
    except Exception as error:  # a library that is missing, or for which there is no memory
        reason = f"an engine cannot load what it needs ({error}); is requirements.txt installed, is there memory?"
        answers.put(StartFailed(reason))
        return
    try:
        worker = EngineWorker(slot, settings, board, commands, answers)  # from now on, the server's death ends it
        template.retell()
        if slot.loan is None and not template.IS_SHARED:
            _log.warning("this engine has loaded the model for itself, as it could not be shared")
        worker.run()
    except Exception as error:
        if is_out_of_memory(error):
            _log.error("there is no memory left for a recognition: the engine ends")
        else:
            _log.exception("the engine fails")
        os._exit(1)

"""A mailbox wakes its thread, and nobody else."""

import select
import socket
import threading
from typing import List

from server.mailbox import Mailbox


def is_readable(mailbox: "Mailbox[int]") -> bool:
    return bool(select.select([mailbox], [], [], 0)[0])


def test_messages_are_taken_in_order_and_wake_once() -> None:
    mailbox: Mailbox[int] = Mailbox()
    assert not is_readable(mailbox)
    for number in range(100_000):  # far more than its socket could hold a byte for each
        mailbox.post(number)
    assert is_readable(mailbox)
    assert mailbox.take() == list(range(100_000))
    assert not is_readable(mailbox)
    assert mailbox.take() == []
    mailbox.close()


def test_who_posts_while_it_is_closed_writes_into_nobody_elses_socket() -> None:
    """A descriptor that is closed may belong to another client a moment later."""
    stopping = threading.Event()
    mailboxes: List[Mailbox[int]] = [Mailbox()]

    def post() -> None:
        while not stopping.is_set():
            mailboxes[0].post(1)

    posters = [threading.Thread(target=post) for _ in range(2)]
    for poster in posters:
        poster.start()
    try:
        for _ in range(2000):
            old, mailboxes[0] = mailboxes[0], Mailbox()
            numbers = {end.fileno() for end in (old._receiver, old._sender)}
            old.close()
            others = socket.socketpair()
            assert numbers & {end.fileno() for end in others}  # the descriptors are used again
            old.post(1)
            assert select.select(others, [], [], 0)[0] == []
            for end in others:
                end.close()
    finally:
        stopping.set()
        for poster in posters:
            poster.join()
        mailboxes[0].close()

"""From a request to a mail in an approver's mailbox, and the record that it was sent."""

from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller

from muniment.access import records
from muniment.operations.notify import record_case
from muniment.ports import Secret
from muniment.sinks.apprise_sink import Mail
from muniment.testing.scenario import Scenario, case_id


class Mailbox:
    def __init__(self) -> None:
        self.envelopes: list[Any] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 (aiosmtpd's name)
        self.envelopes.append(envelope)
        return "250 taken"


async def test_approvers_get_a_mail_that_shows_the_terms_and_decides_nothing(
    tmp_path: Path, unused_tcp_port: int
) -> None:
    mailbox = Mailbox()
    controller = Controller(mailbox, hostname="127.0.0.1", port=unused_tcp_port)
    controller.start()
    url = f"mailto://127.0.0.1:{unused_tcp_port}/?from=muniment@example.com"
    section = {"kind": "mail", "url": "file:mail", "to": ["approvers"], "events": ["waiting"]}
    scenario = Scenario(
        tmp_path, notices={"mail": section}, notifiers={"mail": Mail("mail", Secret(url))}
    )
    try:
        async with scenario:
            case = await scenario.ask("ana", text="the index is broken")
            await scenario.work()
            sent = {each.rcpt_tos[0]: each.content for each in mailbox.envelopes}
            assert sent.keys() == {"bo@example.com", "cy@example.com"}
            message = message_from_bytes(sent["cy@example.com"], policy=policy.default)
            assert message["Subject"] == "Ana (ana) asks for readwrite on orders-prod"
            html = "".join(
                part.get_content() for part in message.walk()
                if part.get_content_type() == "text/html"
            )  # fmt: skip
            assert "the index is broken" in html
            assert f"https://muniment.example/approve/{case_id(case)}" in html
            settled = scenario.records(record_case("mail", f"{case_id(case)}/1"))[0]
            assert isinstance(settled, records.NoticeSettled)
            assert settled.outcome == "delivered"
            assert scenario.read(case).state == "pending"
    finally:
        controller.stop()

"""PyPI `ably` against the real server (docs/protocols/ably.md §1.1, §4, §6, §7, §8, §12).

The SDK refuses keys over plain HTTP, so the clients here have tokens, but for those over TLS.
Its realtime client takes no port but that in `endpoint`; so its REST half cannot be used on a port
of one's own, and history and tokens come from a client of their own.
"""

import asyncio
import hashlib
import itertools
import logging
import os
import unittest

from ably import AblyRealtime, AblyRest
from ably.types.message import Message
from ably.util.exceptions import AblyException

from server import Server

# How long a test may wait for anything; only a fault takes so long.
PATIENCE_SECONDS = 20
MEGABYTE = 1_000_000
# Under `maxMessageSize`, 65536 (§2.5).
PIECE_BYTES = 60_000
FORMATS = {"json": False, "msgpack": True}

_names = itertools.count(1)
server = None


def setUpModule():
    global server
    # The SDK tells its own log what the tests look at; tasks that it forgets, asyncio tells.
    for name in ("ably", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    server = Server()
    # Both httpx and OpenSSL's defaults, which `websockets` uses, trust what this names.
    os.environ["SSL_CERT_FILE"] = str(server.certificate)


def tearDownModule():
    if server:
        server.stop()


def fresh(name):
    """A channel name that no other test uses."""
    return f"{name}-python-{next(_names)}"


class Inbox:
    """Whatever a channel delivered, in order, for a test to wait on."""

    def __init__(self):
        self.items = []
        self._changed = asyncio.Event()

    def put(self, item):
        self.items.append(item)
        self._changed.set()

    async def until(self, condition, what):
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not condition(self.items):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"waited in vain for {what}; {len(self.items)} came") from None
        return self.items

    async def pause(self, seconds):
        """Until something comes, but no longer than that."""
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            pass

    async def count(self, many):
        return await self.until(lambda items: len(items) >= many, f"{many} items")

    async def up_to(self, name):
        """What came before the message of this name."""
        def found(items):
            return next((at for at, item in enumerate(items) if item.name == name), None)

        items = await self.until(lambda items: found(items) is not None, f"a message named {name}")
        return items[:found(items)]


class Proxy:
    """A TCP proxy that loses its connections on command."""

    @classmethod
    async def start(cls, target):
        self = cls()
        self._target, self._links = target, set()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def _serve(self, reader, writer):
        back_reader, back_writer = await asyncio.open_connection("127.0.0.1", self._target)
        self._links |= {writer, back_writer}
        await asyncio.gather(self._pass(reader, back_writer), self._pass(back_reader, writer))

    async def _pass(self, reader, writer):
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        writer.close()

    def cut(self):
        for writer in self._links:
            writer.transport.abort()
        self._links.clear()

    def close(self):
        self._server.close()
        self.cut()


class Case(unittest.IsolatedAsyncioTestCase):
    def setUp(self):
        self._clients = []

    async def asyncTearDown(self):
        for client in self._clients:
            await client.close()

    def rest(self, key=None, **more):
        """A client over plain HTTP, which gets itself a token."""
        more.setdefault("use_token_auth", True)
        client = AblyRest(key=key or server.key, endpoint="127.0.0.1", port=server.port, tls=False, **more)
        self._clients.append(client)
        return client

    def realtime(self, token_params=None, port=None, **more):
        """A client over plain HTTP with tokens of the app's key; `tokens` counts them."""
        if "auth_callback" not in more and "key" not in more:
            signer = self.rest()

            async def auth_callback(params):
                client.tokens += 1
                # What authorize() is given goes before what the test began with.
                wishes = {**(token_params or {}), **params}
                if "client_id" in more:
                    wishes["client_id"] = more["client_id"]
                return await signer.auth.request_token(wishes)

            more["auth_callback"] = auth_callback
        client = AblyRealtime(
            endpoint=f"127.0.0.1:{port or server.port}", tls=False, fallback_hosts=[],
            disconnected_retry_timeout=100, auto_connect=False, **more,
        )
        client.tokens = 0
        self._clients.append(client)
        client.connect()
        return client

    async def connected(self, *args, **more):
        client = self.realtime(*args, **more)
        await self.reach(client.connection, "connected")
        return client

    async def reach(self, connection, state):
        """Waits until a connection is in a state."""
        reached = asyncio.Event()

        def look(change):
            if change.current == state:
                reached.set()

        connection.on(look)
        try:
            if connection.state != state:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    await reached.wait()
        except TimeoutError:
            self.fail(f"waited in vain for {state}; it is {connection.state}: {connection.error_reason}")
        finally:
            connection.off(look)

    async def inbox(self, channel):
        inbox = Inbox()
        await channel.subscribe(inbox.put)
        return inbox

    async def refused(self, call, code):
        with self.assertRaises(AblyException) as caught:
            await asyncio.wait_for(call, PATIENCE_SECONDS)
        self.assertEqual(caught.exception.code, code, caught.exception)


def for_formats(test):
    """Runs a test once for each format, as a test of its own."""
    def adder(owner):
        for format, binary in FORMATS.items():
            async def run(self, binary=binary):
                await test(self, binary)
            run.__doc__ = f"{test.__doc__}: {format}"
            setattr(owner, f"{test.__name__}_{format}", run)
        delattr(owner, test.__name__)
    test.for_formats = adder
    return test


def spread(owner):
    for test in [each for each in vars(owner).values() if hasattr(each, "for_formats")]:
        test.for_formats(owner)
    return owner


@spread
class Messages(Case):
    @for_formats
    async def test_order(self, binary):
        """300 messages arrive once, in order, at both formats"""
        name = fresh("order")
        publisher = await self.connected(use_binary_protocol=binary)
        inboxes = [
            await self.inbox((await self.connected(use_binary_protocol=each)).channels.get(name))
            for each in FORMATS.values()
        ]
        channel = publisher.channels.get(name)
        results = await asyncio.gather(*(channel.publish(f"n{n}", {"n": n}) for n in range(300)))
        serials = [serial for result in results for serial in result.serials]
        for inbox in inboxes:
            await inbox.count(300)
            self.assertEqual([(m.name, m.data) for m in inbox.items], [(f"n{n}", {"n": n}) for n in range(300)])
            self.assertEqual([m.serial for m in inbox.items], serials)

    @for_formats
    async def test_megabyte(self, binary):
        """1 MB of binary in pieces has the same hash at both formats"""
        name = fresh("bytes")
        publisher = await self.connected(use_binary_protocol=binary)
        inboxes = [
            await self.inbox((await self.connected(use_binary_protocol=each)).channels.get(name))
            for each in FORMATS.values()
        ]
        sent = os.urandom(MEGABYTE)
        pieces = [sent[at:at + PIECE_BYTES] for at in range(0, MEGABYTE, PIECE_BYTES)]
        channel = publisher.channels.get(name)
        # The limit of the SDK counts base64.
        for piece in pieces:
            for half in (piece[:PIECE_BYTES // 2], piece[PIECE_BYTES // 2:]):
                await channel.publish("piece", bytearray(half))
        for inbox in inboxes:
            await inbox.until(lambda items: sum(len(m.data) for m in items) >= MEGABYTE, "all bytes")
            received = b"".join(m.data for m in inbox.items)
            self.assertEqual(hashlib.sha256(received).hexdigest(), hashlib.sha256(sent).hexdigest())

    @for_formats
    async def test_kinds(self, binary):
        """Every kind of data arrives as it was sent at both formats"""
        name = fresh("kinds")
        publisher = await self.connected(use_binary_protocol=binary)
        inboxes = [
            await self.inbox((await self.connected(use_binary_protocol=each)).channels.get(name))
            for each in FORMATS.values()
        ]
        kinds = ["Grüße 你好 👋", '{"a":1}', {"nested": [1, 2.5, None, True]}, [1, "two"], bytearray(b"plain"),
                 bytearray([0, 255, 128])]
        for data in kinds:
            await publisher.channels.get(name).publish("kind", data)
        for inbox in inboxes:
            self.assertEqual([m.data for m in await inbox.count(len(kinds))], kinds)

    @for_formats
    async def test_echo_off(self, binary):
        """With echo off a client hears the others and not itself"""
        name = fresh("echo")
        quiet = await self.connected(use_binary_protocol=binary, transport_params={"echo": "false"})
        other = await self.connected(use_binary_protocol=binary)
        inbox = await self.inbox(quiet.channels.get(name))
        await quiet.channels.get(name).publish("own", None)
        await other.channels.get(name).publish("last", None)
        self.assertEqual(await inbox.up_to("last"), [])

    @for_formats
    async def test_rewind(self, binary):
        """Rewind by the qualifier of the name brings the last messages before the live ones"""
        name = fresh("rewind")
        publisher = await self.connected(use_binary_protocol=binary)
        for n in range(6):
            await publisher.channels.get(name).publish(f"n{n}", None)
        reader = await self.connected(use_binary_protocol=binary)
        inbox = await self.inbox(reader.channels.get(f"[?rewind=2]{name}"))
        await publisher.channels.get(name).publish("last", None)
        self.assertEqual([m.name for m in await inbox.up_to("last")], ["n4", "n5"])

    @for_formats
    async def test_resume(self, binary):
        """Five cuts lose, double and reorder nothing"""
        name = fresh("resume")
        proxy = await Proxy.start(server.port)
        try:
            publisher = await self.connected(use_binary_protocol=binary)
            away = await self.connected(port=proxy.port, use_binary_protocol=binary)
            inbox = await self.inbox(away.channels.get(name))
            sent = itertools.count()
            for _ in range(5):
                # Some while it is there, some while it is not, some when it is back.
                for _ in range(5):
                    await publisher.channels.get(name).publish("n", {"n": next(sent)})
                lost = Inbox()
                away.connection.once("disconnected", lost.put)
                proxy.cut()
                await lost.count(1)
                for _ in range(5):
                    await publisher.channels.get(name).publish("n", {"n": next(sent)})
                await self.reach(away.connection, "connected")
                await away.channels.get(name).publish("n", {"n": next(sent)})
            await publisher.channels.get(name).publish("last", None)
            self.assertEqual([m.data["n"] for m in await inbox.up_to("last")], list(range(next(sent))))
        finally:
            for client in self._clients:
                await client.close()
            proxy.close()


@spread
class Presence(Case):
    @for_formats
    async def test_three(self, binary):
        """Three clients enter, update and leave, and one who comes late is told the rest"""
        name = fresh("presence")
        clients = [await self.connected(client_id=who, use_binary_protocol=binary) for who in ("ann", "ben", "cat")]
        ann, ben, cat = (client.channels.get(name) for client in clients)
        events = Inbox()
        await ann.presence.subscribe(events.put)
        await ann.presence.enter("here")
        await ben.presence.enter({"mood": "fine"})
        await cat.presence.enter()
        await ann.presence.update("still here")
        await ben.presence.leave("bye")
        await events.count(5)
        # The SDK numbers the actions: 2 enter, 3 leave, 4 update (§3.2).
        self.assertEqual(
            [(int(e.action), e.client_id, e.data) for e in events.items],
            [(2, "ann", "here"), (2, "ben", {"mood": "fine"}), (2, "cat", None), (4, "ann", "still here"),
             (3, "ben", "bye")],
        )
        late = await self.connected(use_binary_protocol=binary)
        members = await late.channels.get(name).presence.get()
        there = [("ann", "still here"), ("cat", None)]
        self.assertEqual(sorted((m.client_id, m.data) for m in members), there)
        page = await self.rest(use_binary_protocol=binary).channels.get(name).presence.get()
        self.assertEqual(sorted((m.client_id, m.data) for m in page.items), there)


@spread
class Rest(Case):
    @for_formats
    async def test_history(self, binary):
        """25 messages come in pages of 10, forwards and backwards"""
        for namespace in ("", "persisted:"):
            channel = self.rest(use_binary_protocol=binary).channels.get(namespace + fresh("history"))
            for first in range(0, 25, 5):
                await channel.publish([Message(name=f"n{n}", data={"n": n}) for n in range(first, first + 5)])
            names = [f"n{n}" for n in range(25)]
            for direction, expected in (("forwards", names), ("backwards", names[::-1])):
                page = await channel.history(direction=direction, limit=10)
                pages = [page]
                while page.has_next():
                    page = await page.next()
                    pages.append(page)
                listed = [[m.name for m in page.items] for page in pages]
                self.assertEqual(listed, [expected[:10], expected[10:20], expected[20:]])
                self.assertEqual([m.name for m in (await page.first()).items], expected[:10])

    @for_formats
    async def test_idempotent(self, binary):
        """A publish with ids, sent twice, is published once"""
        channel = self.rest(use_binary_protocol=binary).channels.get(fresh("twice"))
        messages = [Message(id=f"batch:{n}", name=f"n{n}", data="x") for n in range(3)]
        first = await channel.publish(messages)
        again = await channel.publish(messages)
        self.assertEqual(first.serials, again.serials)
        page = await channel.history(direction="forwards")
        self.assertEqual([m.id for m in page.items], ["batch:0", "batch:1", "batch:2"])

    @for_formats
    async def test_tls_with_key(self, binary):
        """A key works over TLS, for REST and for realtime"""
        name = fresh("tls")
        more = {"key": server.key, "tls": True, "use_binary_protocol": binary}
        rest = AblyRest(endpoint="127.0.0.1", tls_port=server.tls_port, **more)
        realtime = AblyRealtime(endpoint=f"127.0.0.1:{server.tls_port}", fallback_hosts=[], **more)
        self._clients += [rest, realtime]
        await self.reach(realtime.connection, "connected")
        inbox = await self.inbox(realtime.channels.get(name))
        await rest.channels.get(name).publish("over", "TLS")
        self.assertEqual([(m.name, m.data) for m in await inbox.count(1)], [("over", "TLS")])
        self.assertGreater(await rest.time(), 1_500_000_000_000)


@spread
class Auth(Case):
    @for_formats
    async def test_capability(self, binary):
        """A token with a narrowed capability grants that and no more"""
        open_name, shut_name = fresh("open"), fresh("shut")
        capability = {open_name: ["subscribe"]}
        client = await self.connected({"capability": capability}, use_binary_protocol=binary)
        await client.channels.get(open_name).attach()
        await self.refused(client.channels.get(open_name).publish("no", None), 40160)
        await self.refused(client.channels.get(shut_name).attach(), 40160)
        self.assertEqual(client.connection.state, "connected")

        rest = self.rest(use_binary_protocol=binary, default_token_params={"capability": capability})
        await self.refused(rest.channels.get(open_name).publish("no", "x"), 40160)

    @for_formats
    async def test_reauth(self, binary):
        """authorize() changes the rights of a live connection"""
        first, second = fresh("first"), fresh("second")
        client = await self.connected({"capability": {first: ["*"]}}, use_binary_protocol=binary)
        changes = Inbox()
        client.connection.on(changes.put)
        inbox = await self.inbox(client.channels.get(first))
        await self.refused(client.channels.get(second).attach(), 40160)
        await client.auth.authorize({"capability": {first: ["*"], second: ["*"]}})
        await client.channels.get(second).attach()
        await client.channels.get(first).publish("still", None)
        await inbox.count(1)
        self.assertEqual({str(change.current.value) for change in changes.items} - {"connected"}, set())

    @for_formats
    async def test_renewal(self, binary):
        """A token that expires is renewed, and nothing is lost meanwhile"""
        name = fresh("expiry")
        client = await self.connected({"ttl": 1500}, use_binary_protocol=binary)
        inbox = await self.inbox(client.channels.get(name))
        publisher = await self.connected(use_binary_protocol=binary)
        renewed = Inbox()
        client.connection.on("connected", renewed.put)
        client.connection.on("update", renewed.put)
        sent, limit = 0, asyncio.get_running_loop().time() + PATIENCE_SECONDS
        while not renewed.items:
            self.assertLess(asyncio.get_running_loop().time(), limit, "the token is not renewed")
            await publisher.channels.get(name).publish("n", {"n": sent})
            sent += 1
            # A pace, no wait for anything: before, during and after the renewal.
            await renewed.pause(0.02)
        await publisher.channels.get(name).publish("last", None)
        self.assertEqual([m.data["n"] for m in await inbox.up_to("last")], list(range(sent)))
        self.assertGreaterEqual(client.tokens, 2)

    @for_formats
    async def test_wrong_key(self, binary):
        """A wrong key is refused for good"""
        name = server.key.split(":")[0]
        for key, code in ((f"{name}:wrong", 40101), ("zzzzzz.nosuch:wrong", 40400)):
            client = self.realtime(key=key, use_binary_protocol=binary)
            await self.reach(client.connection, "failed")
            self.assertEqual(client.connection.error_reason.code, code)
            await self.refused(self.rest(key=key).auth.request_token(), code)


if __name__ == "__main__":
    unittest.main()

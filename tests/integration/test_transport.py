# SPDX-License-Identifier: Apache-2.0
"""One call over a real socket, when the other side behaves badly."""

from __future__ import annotations

import contextlib
import gc
import gzip
import os
import socket
import sys
import threading
import time

import pytest
from raw_server import RawServer, dripping, reply, resetting, saying, self_signed, silent

from airflow_provider_mpc.api import transport as transport_module
from airflow_provider_mpc.api.errors import (
    MpcConfigurationError,
    MpcProtocolError,
    MpcTlsError,
    MpcTransportError,
    Persistence,
)
from airflow_provider_mpc.api.redaction import Redactor
from airflow_provider_mpc.api.transport import Transport

LIMIT = 0.6
GRACE = 0.9
"""A call that does not end within limit and grace has no total limit."""


@pytest.fixture
def transport():
    made = Transport(timeout=LIMIT)
    yield made
    made.close()


def send(transport, url, method="GET", headers=None, body=b"", secrets=(), **options):
    return transport.send(method, url, headers=headers or {}, body=body, redact=Redactor(secrets), **options)


def failure(transport, url, kind=MpcTransportError, **options):
    with pytest.raises(kind) as caught:
        send(transport, url, **options)
    assert type(caught.value) is kind
    return caught.value


@pytest.fixture
def soon():
    """The test must end within the limit of a call."""
    began = time.monotonic()
    yield
    assert time.monotonic() - began < LIMIT + GRACE


def test_a_reply_too_large_was_an_answer(transport):
    body = b"x" * (transport_module._LARGEST_REPLY + 1)
    with RawServer(saying(reply(body))) as server:
        error = failure(Transport(timeout=20), server.url, MpcProtocolError, method="POST", body=b"{}")
    assert error.maybe_sent, "a job may have been made"


@pytest.mark.parametrize("line", ["this is no header", "X-Odd header: 1", " folded: 1", "=: "])
def test_a_line_that_is_no_header_brings_nothing_into_the_log(transport, caplog, line):
    caplog.set_level("DEBUG")
    with RawServer(saying(reply(headers=f"X-First: 1\r\n{line}\r\nX-Subject-Token: CANARY\r\n"))) as server:
        answer = send(transport, server.url)
    assert (answer.status, answer.body) == (200, b"{}")
    assert "CANARY" not in caplog.text
    assert "Failed to parse" not in caplog.text


@pytest.mark.usefixtures("soon")
class TestTotalTimeLimit:
    def check(self, transport, server, maybe_sent=True, **options):
        error = failure(transport, server.url, **options)
        assert "within 0.6 s" in str(error)
        assert (error.maybe_sent, error.retryable) == (maybe_sent, True)

    def test_a_first_byte_that_never_comes(self, transport):
        with RawServer(silent) as server:
            self.check(transport, server)

    def test_a_status_line_that_drips(self, transport):
        with RawServer(dripping(b"H", b"T")) as server:
            self.check(transport, server)

    def test_headers_that_drip_bytes(self, transport):
        with RawServer(dripping(b"HTTP/1.1 200 OK\r\nX-Long: ", b"x")) as server:
            self.check(transport, server)

    def test_a_body_that_drips(self, transport):
        with RawServer(dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b"x")) as server:
            self.check(transport, server)

    def test_a_chunked_body_that_drips(self, transport):
        with RawServer(dripping(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n")) as server:
            self.check(transport, server)

    def test_a_body_without_an_end_that_drips(self, transport):
        with RawServer(dripping(b"HTTP/1.1 200 OK\r\n\r\n", b"x")) as server:
            self.check(transport, server)

    def test_a_redirects_body_that_drips(self, transport):
        head = b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 100000\r\n\r\n"
        with RawServer(dripping(head, b"x")) as server:
            self.check(transport, server)

    def test_interim_replies_that_never_end(self, transport):
        with RawServer(dripping(b"", b"HTTP/1.1 100 Continue\r\n\r\n")) as server:
            self.check(transport, server)

    def test_a_tls_handshake_that_is_not_answered(self, transport, tmp_path):
        tls, _ = self_signed(tmp_path)
        with RawServer(saying(reply()), tls=tls, greet=lambda sock, request: time.sleep(5)) as server:
            failure(transport, server.url)

    def test_a_tls_body_that_drips(self, tmp_path):
        tls, file = self_signed(tmp_path)
        with RawServer(dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b"x"), tls=tls) as server:
            self.check(Transport(verify=str(file), timeout=LIMIT), server)

    def test_a_proxys_answer_to_connect_that_drips(self, transport, monkeypatch):
        with RawServer(dripping(b"HTTP/1.1 200 OK\r\nX-Long: ", b"x")) as proxy:
            monkeypatch.setenv("HTTPS_PROXY", proxy.url)
            failure(transport, "https://mpc.example.invalid/")

    def test_a_request_that_nobody_reads(self, transport):
        with RawServer(silent, greet=lambda sock, request: time.sleep(5)) as server:
            self.check(transport, server, method="POST", body=b"x" * 50_000_000)

    def test_the_last_of_several_addresses_has_only_what_is_left(self, transport, monkeypatch):
        monkeypatch.setattr(transport_module, "CONNECT_TIMEOUT", 0.5)
        with socket.socket() as listener, contextlib.ExitStack() as held:
            listener.bind(("0.0.0.0", 0))
            listener.listen(0)
            port = listener.getsockname()[1]
            for _ in range(3):
                filler = held.enter_context(socket.socket())
                filler.setblocking(False)
                filler.connect_ex(("127.0.0.1", port))
            resolve(monkeypatch, port, "127.0.0.2", "127.0.0.3")
            began = time.monotonic()
            failure(transport, f"http://mpc.example.invalid:{port}/")
        assert time.monotonic() - began < LIMIT + 0.3

    def test_addresses_that_do_not_answer(self, transport, monkeypatch):
        # A listener whose queue is full leaves further connections unanswered.
        with socket.socket() as listener:
            listener.bind(("0.0.0.0", 0))
            listener.listen(0)
            port = listener.getsockname()[1]
            fillers = [socket.socket() for _ in range(3)]
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(("127.0.0.1", port))
            resolve(monkeypatch, port, "127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5")
            error = failure(transport, f"http://mpc.example.invalid:{port}/")
            for filler in fillers:
                filler.close()
        assert str(error).startswith(f"No connection to mpc.example.invalid:{port} within 0.6 s")
        assert not error.maybe_sent


def resolve(monkeypatch, port, *addresses):
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]
    real = socket.getaddrinfo

    def look_up(host, *args, **kwargs):
        return found if host == "mpc.example.invalid" else real(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)


class TestBrokenConnections:
    def test_refused(self, transport):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        error = failure(transport, f"http://127.0.0.1:{port}/")
        assert (error.maybe_sent, error.retryable) == (False, True)
        assert f"Nothing listens at 127.0.0.1:{port}" in str(error)
        assert "Port" in error.advice

    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_reset(self, transport, method):
        with RawServer(resetting) as server:
            error = failure(transport, server.url, method=method)
            assert (error.maybe_sent, error.retryable) == (True, True)
            assert len(server.requests) == 1

    def test_closed_without_a_reply(self, transport):
        with RawServer(saying(b"")) as server:
            assert failure(transport, server.url).maybe_sent
            assert len(server.requests) == 1

    def test_a_body_cut_short(self, transport):
        with RawServer(saying(reply(b'{"job_array": []}', length=1000))) as server:
            assert failure(transport, server.url).maybe_sent

    def test_a_chunked_body_cut_short(self, transport):
        cut = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n"
        with RawServer(saying(cut)) as server:
            failure(transport, server.url)

    @pytest.mark.parametrize("noise", [b"SSH-2.0-OpenSSH_9\r\n\r\n", b"\x00\x01\x02\r\n\r\n", b"HTTP/1.1 OK\r\n\r\n"])
    def test_what_is_not_http(self, transport, noise):
        with RawServer(saying(noise)) as server:
            failure(transport, server.url)

    def test_a_header_without_an_end(self, transport):
        with RawServer(saying(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000)) as server:
            failure(transport, server.url)

    def test_a_name_that_is_not_found(self, transport, monkeypatch):
        def look_up(*args, **kwargs):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        monkeypatch.setattr(socket, "getaddrinfo", look_up)
        error = failure(transport, "https://mpc.nowhere.invalid/")
        assert "host name mpc.nowhere.invalid was not found" in str(error)
        assert "Region and Endpoint" in error.advice
        assert (error.maybe_sent, error.retryable) == (False, True)

    def test_the_next_address_is_tried(self, transport, monkeypatch):
        with RawServer(saying(reply(b"here"))) as server:
            resolve(monkeypatch, server.port, "127.0.0.9", "127.0.0.1")
            assert send(transport, f"http://mpc.example.invalid:{server.port}/").body == b"here"
            assert f"Host: mpc.example.invalid:{server.port}" in server.heads()[0]

    def test_a_failure_is_not_repeated(self, transport):
        with RawServer(saying(reply(status="503 Service Unavailable"))) as server:
            assert send(transport, server.url).status == 503
            assert len(server.requests) == 1


class TestTls:
    @pytest.fixture
    def certified(self, tmp_path):
        tls, file = self_signed(tmp_path)
        with RawServer(saying(reply(b"here")), tls=tls) as server:
            server.certificate = file
            yield server

    def test_an_unknown_certificate_is_refused_before_anything_is_sent(self, transport, certified):
        error = failure(transport, certified.url, MpcTlsError, headers={"X-Auth-Token": "CANARY"})
        assert "certificate" in str(error)
        assert "'Verify TLS'" in error.advice
        assert (error.maybe_sent, error.persistence) == (False, Persistence.SUSPECT)
        assert certified.requests == []

    def test_its_ca_file_makes_it_known(self, certified):
        assert send(Transport(verify=str(certified.certificate), timeout=5), certified.url).body == b"here"

    def test_the_environments_ca_file_makes_it_known(self, certified, monkeypatch):
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certified.certificate))
        assert send(Transport(timeout=5), certified.url).body == b"here"

    @pytest.mark.filterwarnings("ignore:Unverified HTTPS")
    def test_it_need_not_be_verified(self, certified):
        assert send(Transport(verify=False, timeout=5), certified.url).body == b"here"

    @pytest.mark.filterwarnings("ignore:Unverified HTTPS")
    def test_the_environments_ca_file_does_not_turn_verification_on_again(self, certified, monkeypatch, tmp_path):
        (tmp_path / "other").mkdir()
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(self_signed(tmp_path / "other")[1]))
        assert send(Transport(verify=False, timeout=5), certified.url).body == b"here"

    def test_a_certificate_of_another_host_is_refused(self, certified, monkeypatch):
        resolve(monkeypatch, certified.port, "127.0.0.1")
        transport = Transport(verify=str(certified.certificate), timeout=5)
        failure(transport, f"https://mpc.example.invalid:{certified.port}/", MpcTlsError)

    def test_https_to_a_plain_port_names_the_scheme(self, transport):
        with RawServer(silent, greet=saying(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as server:
            error = failure(transport, server.url.replace("http:", "https:"), MpcTlsError, method="POST", body=b"{}")
        assert "scheme" in error.advice
        assert not error.maybe_sent, "nothing goes out before the handshake is done"

    def test_an_end_amid_the_handshake_is_a_broken_connection_and_not_a_bad_certificate(self, transport):
        with RawServer(silent, greet=lambda sock, request: sock.shutdown(socket.SHUT_WR)) as server:
            error = failure(transport, server.url.replace("http:", "https:"))
        assert error.persistence is Persistence.TRANSIENT

    def test_a_handshake_may_take_longer_than_connecting(self, tmp_path, monkeypatch):
        monkeypatch.setattr(transport_module, "CONNECT_TIMEOUT", 0.2)
        tls, file = self_signed(tmp_path)
        with RawServer(saying(reply(b"here")), tls=tls, greet=lambda sock, request: time.sleep(0.5)) as server:
            assert send(Transport(verify=str(file), timeout=10), server.url).body == b"here"

    def test_an_end_without_farewell_is_a_broken_connection_and_not_a_bad_certificate(self, tmp_path):
        tls, file = self_signed(tmp_path)

        def vanish(sock, request):
            os.close(sock.detach())

        with RawServer(vanish, tls=tls) as server:
            error = failure(Transport(verify=str(file), timeout=5), server.url, method="POST", body=b"{}")
        assert (error.maybe_sent, error.persistence) == (True, Persistence.TRANSIENT)


class TestRedirects:
    @pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"])
    def test_none_is_followed(self, transport, status):
        with RawServer(saying(reply())) as target:
            moved = reply(b"", status=status, headers=f"Location: {target.url}/\r\n")
            with RawServer(saying(moved)) as server:
                answer = send(transport, server.url, headers={"X-Auth-Token": "CANARY"})
            assert (answer.status, answer.ok) == (int(status[:3]), False)
            assert (target.connections, target.requests) == (0, [])

    @pytest.mark.parametrize("where", ["http://[bad/", "\\\\", "//", "javascript:x", "http://a:b:c/", ""])
    def test_a_target_without_sense_does_no_harm(self, transport, where):
        with RawServer(saying(reply(b"", status="302 Found", headers=f"Location: {where}\r\n"))) as server:
            assert send(transport, server.url).status == 302


class TestBodies:
    def test_twenty_megabytes_are_refused(self, transport):
        with RawServer(saying(reply(b"x" * 20_000_000))) as server:
            error = failure(transport, server.url, MpcProtocolError, timeout=10)
        assert "16 MB" in str(error)
        assert error.status == 200

    def test_a_redirects_twenty_megabytes_are_refused(self, transport):
        big = reply(b"x" * 20_000_000, status="302 Found", headers="Location: http://127.0.0.1:1/\r\n")
        with RawServer(saying(big)) as server:
            failure(transport, server.url, MpcProtocolError, timeout=10)

    def test_a_body_without_an_end_is_refused(self, transport):
        head = b"HTTP/1.1 200 OK\r\n\r\n"
        with RawServer(dripping(head, b"x" * 1_000_000, every=0)) as server:
            failure(transport, server.url, MpcProtocolError, timeout=10)

    def test_fifteen_megabytes_pass(self, transport):
        with RawServer(saying(reply(b"x" * 15_000_000))) as server:
            assert len(send(transport, server.url, timeout=10).body) == 15_000_000

    def test_gzip_is_unpacked(self, transport):
        with RawServer(saying(reply(gzip.compress(b"here"), headers="Content-Encoding: gzip\r\n"))) as server:
            assert send(transport, server.url).body == b"here"

    def test_what_unpacks_to_too_much_is_refused(self, transport):
        packed = gzip.compress(b"\0" * 64_000_000)
        with RawServer(saying(reply(packed, headers="Content-Encoding: gzip\r\n"))) as server:
            failure(transport, server.url, MpcProtocolError, timeout=10)

    def test_gzip_that_is_none_is_a_broken_reply(self, transport):
        with RawServer(saying(reply(b"not gzip", headers="Content-Encoding: gzip\r\n"))) as server:
            failure(transport, server.url)

    def test_an_empty_reply_is_one(self, transport):
        with RawServer(saying(b"HTTP/1.1 204 No Content\r\n\r\n")) as server:
            answer = send(transport, server.url, method="DELETE")
        assert (answer.status, answer.ok, answer.body) == (204, True, b"")

    def test_headers_are_found_by_lower_case_name(self, transport):
        with RawServer(saying(reply(headers="X-REQUEST-ID: rid\r\n"))) as server:
            assert send(transport, server.url).headers["x-request-id"] == "rid"


class TestWire:
    @pytest.mark.parametrize(
        "target",
        [
            "/v2/p/editing/jobs?job_id=30647&job_id=30650",
            "/v2/p/editing/jobs?job_id=a%20b%2Bc~d%2A&x=",
            "/v2/p~q/editing/jobs/a%20b~c%7Ed%2Fe%25",
            "/v2/p;x=1/a:b@c!$&'()*,=",
            "/v2/p/%C3%A9?q=%C3%A9%22%3C%3E%60",
        ],
    )
    @pytest.mark.parametrize("by_proxy", [False, True], ids=["direct", "by proxy"])
    def test_the_url_goes_out_as_it_is(self, transport, monkeypatch, target, by_proxy):
        with RawServer(saying(reply())) as server:
            url = server.url
            if by_proxy:
                monkeypatch.setenv("HTTP_PROXY", server.url)
                url = "http://mpc.example.invalid"
            send(transport, url + target)
            first_line = server.heads()[0].split("\r\n")[0]
        assert first_line == f"GET {url if by_proxy else ''}{target} HTTP/1.1"

    def test_a_token_of_nine_kilobytes_goes_out_whole(self, transport):
        token = "MII" + "x" * 9200
        with RawServer(saying(reply())) as server:
            send(transport, server.url, headers={"X-Auth-Token": token})
            assert f"X-Auth-Token: {token}" in server.heads()[0].split("\r\n")

    def test_a_nine_kilobyte_header_comes_back_whole(self, transport):
        token = "MII" + "x" * 16_000
        with RawServer(saying(reply(headers=f"X-Subject-Token: {token}\r\n"))) as server:
            assert send(transport, server.url).headers["x-subject-token"] == token

    def test_the_host_header_is_the_signed_one_and_only_once(self, transport):
        with RawServer(saying(reply())) as server:
            send(transport, server.url, headers={"Host": "signed.example.com"})
            hosts = [line for line in server.heads()[0].split("\r\n") if line.lower().startswith("host:")]
        assert hosts == ["Host: signed.example.com"]

    def test_a_body_is_sent_with_its_length(self, transport):
        with RawServer(saying(reply())) as server:
            send(transport, server.url, method="POST", body=b'{"a": 1}')
            assert server.requests[0].endswith(b"\r\n\r\n" + b'{"a": 1}')
            assert "Content-Length: 8" in server.heads()[0]

    def test_a_post_without_a_body_says_so(self, transport):
        with RawServer(saying(reply())) as server:
            send(transport, server.url, method="POST")
            assert "Content-Length: 0" in server.heads()[0]

    def test_cookies_are_not_sent_back(self, transport):
        with RawServer(saying(reply(headers="Set-Cookie: a=b\r\n"), keep=True)) as server:
            send(transport, server.url)
            send(transport, server.url)
            assert "cookie" not in server.heads()[1].lower()

    @pytest.mark.parametrize("value", ["CANARY\r\nX-Evil: 1", "CANARY\x00", "CANARY\u2013", "CANARY\x0b"])
    def test_a_header_that_http_does_not_carry_is_named_but_not_shown(self, transport, value):
        with RawServer(saying(reply())) as server:
            error = failure(transport, server.url, MpcConfigurationError, headers={"X-Auth-Token": value})
            assert server.connections == 0
        assert "X-Auth-Token" in str(error)
        assert "CANARY" not in str(error)
        assert not error.retryable


class TestEnvironment:
    @pytest.mark.parametrize("host", ["127.0.0.1", "default"])
    def test_netrc_replaces_no_signature(self, transport, tmp_path, host):
        machine = "default" if host == "default" else f"machine {host}"
        (tmp_path / ".netrc").write_text(f"{machine} login CANARY password CANARY\n")
        (tmp_path / ".netrc").chmod(0o600)
        with RawServer(saying(reply(), keep=True)) as server:
            send(transport, server.url, headers={"Authorization": "SDK-HMAC-SHA256 Access=a"})
            send(transport, server.url)
            assert "Authorization: SDK-HMAC-SHA256 Access=a" in server.heads()[0]
            assert "Authorization" not in server.heads()[1]

    def test_a_proxy_is_used(self, transport, monkeypatch):
        with RawServer(saying(reply(b"by proxy"))) as proxy:
            monkeypatch.setenv("HTTP_PROXY", proxy.url.replace("//", "//user:pass@"))
            assert send(transport, "http://mpc.example.invalid/").body == b"by proxy"
            assert "Proxy-Authorization: Basic " in proxy.heads()[0]

    def test_no_proxy_is_obeyed(self, transport, monkeypatch):
        with RawServer(saying(reply())) as proxy, RawServer(saying(reply(b"direct"))) as server:
            monkeypatch.setenv("HTTP_PROXY", proxy.url)
            monkeypatch.setenv("NO_PROXY", "127.0.0.1")
            assert send(transport, server.url).body == b"direct"
            assert proxy.connections == 0

    def test_a_proxy_that_refuses_is_blamed_and_its_password_not_shown(self, transport, monkeypatch):
        with RawServer(saying(reply(b"", status="407 Proxy Authentication Required"))) as proxy:
            monkeypatch.setenv("HTTPS_PROXY", proxy.url.replace("//", "//user:CANARY@"))
            error = failure(transport, "https://mpc.example.invalid/", headers={"X-Auth-Token": "TOKEN"})
            assert "TOKEN" not in proxy.heads()[0]
        assert "proxy" in str(error)
        assert "HTTPS_PROXY" in error.advice
        assert not error.maybe_sent
        assert "CANARY" not in str(error)

    def test_what_must_not_pass_a_proxy_goes_straight(self, transport, monkeypatch):
        with RawServer(saying(reply(b"by proxy"))) as proxy, RawServer(saying(reply(b"straight"))) as server:
            monkeypatch.setenv("HTTP_PROXY", proxy.url)
            assert send(transport, server.url, direct=True).body == b"straight"
            assert send(transport, server.url).body == b"by proxy"

    @pytest.mark.parametrize("address", ["http://user:CANARY#x@127.0.0.1:9", "http://user:CANARY/x@127.0.0.1:9", "://"])
    def test_a_proxy_address_without_sense_is_told_and_not_shown(self, transport, monkeypatch, address):
        monkeypatch.setenv("HTTPS_PROXY", address)
        with pytest.raises((MpcConfigurationError, MpcTransportError)) as caught:
            send(transport, "https://mpc.example.invalid/")
        assert "proxy" in str(caught.value)
        assert "HTTPS_PROXY" in caught.value.advice
        assert "CANARY" not in str(caught.value)

    def test_a_missing_ca_bundle_is_named(self, transport, monkeypatch):
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/no/such/bundle.pem")
        with pytest.raises(MpcConfigurationError, match=r"/no/such/bundle\.pem"):
            send(transport, "https://127.0.0.1:9/")

    def test_a_socks_proxy_without_its_package_is_told(self, transport, monkeypatch):
        monkeypatch.setitem(sys.modules, "socks", None)
        monkeypatch.setitem(sys.modules, "urllib3.contrib.socks", None)
        monkeypatch.setenv("ALL_PROXY", "socks5h://127.0.0.1:9")
        with pytest.raises(MpcConfigurationError, match="PySocks"):
            send(transport, "http://mpc.example.invalid/")

    def test_a_proxy_that_is_not_there_is_blamed(self, transport, monkeypatch):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        monkeypatch.setenv("HTTP_PROXY", f"http://user:CANARY@127.0.0.1:{port}")
        error = failure(transport, "http://mpc.example.invalid/")
        assert "proxy" in str(error)
        assert "CANARY" not in str(error)
        assert not error.maybe_sent


class TestConnections:
    def test_one_thread_reuses_its_own(self, transport):
        with RawServer(saying(reply(), keep=True)) as server:
            for _ in range(3):
                send(transport, server.url)
            assert server.connections == 1

    def test_each_thread_has_its_own(self, transport):
        with RawServer(saying(reply(), keep=True)) as server:
            threads = [threading.Thread(target=send, args=(transport, server.url)) for _ in range(3)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert server.connections == 3

    def test_a_fresh_one_is_made_when_asked_for(self, transport):
        with RawServer(saying(reply(), keep=True)) as server:
            send(transport, server.url)
            send(transport, server.url, method="POST", fresh=True)
            assert server.connections == 2

    def test_one_that_the_server_has_closed_is_replaced(self, transport):
        with RawServer(saying(reply())) as server:
            for _ in range(2):
                send(transport, server.url)
                time.sleep(0.2)
            assert server.connections == 2

    def test_a_kept_one_does_not_keep_the_time_limit_of_its_last_call(self, transport):
        def answer(sock, request):
            if len(server.requests) > 1:
                time.sleep(0.5)
            sock.sendall(reply())
            return True

        with RawServer(answer) as server:
            send(transport, server.url, timeout=0.3)
            assert send(transport, server.url, timeout=5).ok
            assert server.connections == 1

    def test_a_kept_one_gets_the_shorter_limit_of_the_next_call(self, transport):
        def answer(sock, request):
            if len(server.requests) > 1:
                time.sleep(3)
            sock.sendall(reply())
            return True

        with RawServer(answer) as server:
            send(transport, server.url, timeout=5)
            began = time.monotonic()
            failure(transport, server.url, timeout=0.3)
            assert time.monotonic() - began < 1.5

    def test_sending_over_a_kept_one_may_take_longer_than_connecting(self, transport, monkeypatch):
        monkeypatch.setattr(transport_module, "CONNECT_TIMEOUT", 0.2)

        def answer(sock, request):
            sock.sendall(reply())
            # Nobody reads the next request for a while.
            time.sleep(0.5)
            return True

        with RawServer(answer) as server:
            send(transport, server.url, timeout=10)
            assert send(transport, server.url, method="POST", body=b"x" * 20_000_000, timeout=10).ok
            assert server.connections == 1

    def test_those_of_threads_that_have_ended_are_closed(self, transport):
        with RawServer(saying(reply(), keep=True)) as server:
            for _ in range(10):
                thread = threading.Thread(target=send, args=(transport, server.url))
                thread.start()
                thread.join()
            del thread
            gc.collect()
            assert len(transport._sessions) <= 1

    def test_a_closed_transport_opens_new_ones(self, transport):
        with RawServer(saying(reply(), keep=True)) as server:
            send(transport, server.url)
            transport.close()
            assert send(transport, server.url).ok
            assert server.connections == 2


class TestSecrets:
    TOKEN = "TOKENCANARY/+=0123456789"

    @pytest.mark.parametrize("answer", [resetting, silent, saying(b"garbage TOKENCANARY/+=0123456789\r\n\r\n")])
    def test_an_error_shows_none_in_its_text_or_traceback(self, transport, answer):
        import traceback

        with RawServer(answer) as server:
            error = failure(transport, server.url, headers={"X-Auth-Token": self.TOKEN}, secrets=[self.TOKEN])
        shown = "".join(traceback.format_exception(error)) + repr(error) + repr(vars(error))
        assert "CANARY" not in shown

    def test_a_reply_shows_no_header(self, transport):
        with RawServer(saying(reply(b"BODYCANARY", headers="X-Subject-Token: CANARY\r\n"))) as server:
            assert "CANARY" not in repr(send(transport, server.url))

# SPDX-License-Identifier: Apache-2.0
"""A server that says just what a test wants, byte for byte."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path

Answer = Callable[[socket.socket, bytes], bool | None]
"""Answers one request on a socket; true: the connection stays open for another."""


def reply(body: bytes = b"{}", *, status: str = "200 OK", headers: str = "", length: int | None = None) -> bytes:
    """Return a whole reply."""
    length = len(body) if length is None else length
    return f"HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{headers}\r\n".encode("latin-1") + body


def saying(data: bytes, *, keep: bool = False) -> Answer:
    """Return an answer that sends these bytes."""

    def answer(sock: socket.socket, request: bytes) -> bool:
        sock.sendall(data)
        return keep

    return answer


def dripping(head: bytes, drop: bytes, *, every: float = 0.05) -> Answer:
    """Return an answer that goes on for ever, a drop at a time."""

    def answer(sock: socket.socket, request: bytes) -> None:
        sock.sendall(head)
        while True:
            time.sleep(every)
            sock.sendall(drop)

    return answer


def resetting(sock: socket.socket, request: bytes) -> None:
    """End the connection by a TCP reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def silent(sock: socket.socket, request: bytes) -> None:
    """Say nothing until the caller has gone."""
    with contextlib.suppress(OSError):
        sock.recv(1)


class RawServer:
    """
    Listens on a port of its own; a context manager.

    :param answer: answers each request.
    :param tls: makes it speak TLS.
    :param greet: what happens on a connection before its first request is read.
    """

    def __init__(self, answer: Answer, *, tls: ssl.SSLContext | None = None, greet: Answer | None = None) -> None:
        self.answer = answer
        self.requests: list[bytes] = []
        self.connections = 0
        self._tls = tls
        self._greet = greet
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self.port = self._listener.getsockname()[1]
        self.host = f"127.0.0.1:{self.port}"
        self.url = f"{'https' if tls else 'http'}://{self.host}"

    def __enter__(self) -> RawServer:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        # A blocked accept() ends only by shutdown.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in self._open:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def heads(self) -> list[str]:
        """Return the heads of the requests received."""
        return [request.partition(b"\r\n\r\n")[0].decode("latin-1") for request in self.requests]

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                self.connections += 1
                self._open.append(sock)
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            if self._greet is not None:
                self._greet(sock, b"")
            if self._tls is not None:
                sock = self._tls.wrap_socket(sock, server_side=True)
                self._open.append(sock)
            while request := read_request(sock):
                self.requests.append(request)
                if not self.answer(sock, request):
                    break
        sock.close()


def read_request(sock: socket.socket) -> bytes:
    """Return one request, empty when the caller has gone."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = sock.recv(65536)
        if not more:
            return b""
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(
        (int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
    )
    while len(body) < length:
        more = sock.recv(65536)
        if not more:
            break
        body += more
    return head + b"\r\n\r\n" + body


def self_signed(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """Return a server's TLS context and the file of its certificate, which nobody else trusts."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    file = folder / "certificate.pem"
    file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file = folder / "key.pem"
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file, key_file)
    return context, file

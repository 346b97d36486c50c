"""The files of an intake's TLS: `merit keys certificate`, a node's home, and what is told when one is missing."""

import json
import ssl
from pathlib import Path

import msgspec
import pytest

from node import cli
from node.errors import CertificateError, HomeError
from node.machine.checks import require_complete, require_free_ports
from node.machine.home import NodeHome, TlsFile
from node.testnet.layout import Layout, TestnetFile, make
from node.tls import certificates, identity
from tests.node.testnet.running import merit

NOW = 1_800_000_000


@pytest.fixture
def home(tmp_path: Path) -> NodeHome:
    """A home whose intake is to be reached over TLS."""
    make(tmp_path / "net", TestnetFile(validators=1, clients=0, relays=False, port=43_900), NOW)
    home = Layout(tmp_path / "net").home(1)
    file = home.read()
    assert file.edge is not None
    edge = msgspec.structs.replace(file.edge, tls=TlsFile(port=43_909, host="::", classical=True))
    home.file.write_bytes(msgspec.structs.replace(file, edge=edge).encode())
    return home


def test_a_node_file_keeps_what_it_says_of_tls(home: NodeHome) -> None:
    file = home.read()
    assert file.edge is not None
    assert file.edge.tls == TlsFile(port=43_909, host="::", classical=True)
    assert file.ports["edge.tls.port"] == 43_909


@pytest.mark.parametrize("name", [identity.KEY_NAME, identity.CERTIFICATE_NAME])
def test_a_missing_file_is_named_before_the_node_starts(home: NodeHome, name: str) -> None:
    identity.make(home.key.parent, ["127.0.0.1"], home.password.read_bytes(), now=NOW)
    require_complete(home, home.read())
    require_free_ports(home, home.read())
    (home.key.parent / name).unlink()
    with pytest.raises(HomeError, match=f"{name} is missing"):
        require_complete(home, home.read())


def test_a_certificate_is_made_of_a_key_and_never_overwritten(home: NodeHome) -> None:
    password = ["--password-file", home.password]
    assert merit("keys", "new", home.tls_key, "--scheme", "ml-dsa-65", *password).code == 0
    names = ["--name", "edge.example", "--name", "10.0.0.7"]
    arguments = ["keys", "certificate", home.tls_key, home.tls_certificate, *names, "--days", 30, *password]
    made = merit(*arguments, "--json")
    assert made.code == 0, made
    assert json.loads(made.out)["names"] == ["edge.example", "10.0.0.7"]
    (certificate,) = certificates.read(home.tls_certificate)
    assert (certificate.not_valid_after_utc - certificate.not_valid_before_utc).days == 30
    assert not certificate.extensions.get_extension_for_class(certificates.x509.BasicConstraints).value.ca
    identity.context_of(home.tls_key, home.tls_certificate, home.password.read_bytes())
    again = merit(*arguments)
    assert (again.code, again.err.count("\n")) == (2, 1)
    assert "exists already" in again.err
    assert ssl.PEM_cert_to_DER_cert(home.tls_certificate.read_text())


def test_what_is_no_certificate_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(CertificateError, match="No such file or directory; make a certificate with `merit keys cert"):
        certificates.read(tmp_path / "none.crt")
    (tmp_path / "text.crt").write_text("hello")
    with pytest.raises(CertificateError, match="holds no certificates in PEM"):
        certificates.read(tmp_path / "text.crt")


def test_https_without_certificates_to_trust_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    password = tmp_path / "password"
    password.write_text("one")
    key = tmp_path / "key.pem"
    merit("keys", "new", key, "--password-file", password)
    command = ["client", "run", "--server", "https://127.0.0.1:9", "--key", key, "--password-file", password]
    assert cli.main([str(part) for part in [*command, "--dir", tmp_path / "client"]]) == 2
    assert "name the edge servers' certificates to trust (--trust FILE)" in capsys.readouterr().err

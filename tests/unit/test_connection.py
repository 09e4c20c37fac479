# SPDX-License-Identifier: Apache-2.0
"""A connection's fields: what they mean, which errors name them, and the form that is made of them."""

from __future__ import annotations

import pytest

from airflow_provider_mpc import connection
from airflow_provider_mpc.api.auth import (
    AgencyAuthenticator,
    AkSkAuthenticator,
    PasswordAuthenticator,
    TokenAuthenticator,
)
from airflow_provider_mpc.api.errors import MpcConfigurationError
from airflow_provider_mpc.connection import FIELDS, conn_fields, read_connection, ui_field_behaviour

EXTRA = {"region": "cn-north-4", "project_id": "p1"}


def read(login="AK", password="SK", host=None, port=None, **extra):
    return read_connection(login=login, password=password, host=host, port=port, extra={**EXTRA, **extra})


def error_of(*args, **kwargs):
    with pytest.raises(MpcConfigurationError) as caught:
        read(*args, **kwargs)
    return str(caught.value)


class TestAuthMethod:
    @pytest.mark.parametrize(
        ("login", "password", "extra", "method"),
        [
            ("AK", "SK", {}, "aksk"),
            ("AK", "SK", {"security_token": "T"}, "aksk"),
            ("AK", "SK", {"security_token": "T", "domain_name": "d"}, "aksk"),
            ("user", "pw", {"domain_name": "d"}, "password"),
            (None, "TOKEN", {}, "token"),
            ("", "TOKEN", {}, "token"),
            ("  ", "TOKEN", {"auth_method": ""}, "token"),
            ("AK", "SK", {"auth_method": None}, "aksk"),
            ("AK", "SK", {"auth_method": "aksk", "domain_name": "d"}, "aksk"),
            (None, "TOKEN", {"auth_method": "token"}, "token"),
            ("user", "pw", {"auth_method": "password", "domain_name": "d"}, "password"),
            (None, None, {"auth_method": "agency"}, "agency"),
            (None, None, {"auth_method": " AGENCY "}, "agency"),
        ],
    )
    def test_it_follows_from_the_fields(self, login, password, extra, method):
        assert read(login, password, **extra).auth_method == method

    @pytest.mark.parametrize(
        ("login", "password", "extra", "label"),
        [
            (None, None, {}, "Access key (AK) or IAM user"),
            ("AK", None, {}, "Secret key (SK), password or token"),
            ("AK", None, {"security_token": "T"}, "Secret key (SK), password or token"),
            (None, "SK", {"security_token": "T"}, "Access key (AK) or IAM user"),
            (None, "SK", {"auth_method": "aksk"}, "Access key (AK) or IAM user"),
            ("AK", None, {"auth_method": "token"}, "Secret key (SK), password or token"),
            ("user", "pw", {"auth_method": "password"}, "Account name (domain)"),
            (None, "pw", {"auth_method": "password", "domain_name": "d"}, "Access key (AK) or IAM user"),
            (None, "T", {"auth_method": "token", "security_token": "T"}, "Security token"),
            ("user", "pw", {"auth_method": "password", "domain_name": "d", "security_token": "T"}, "Security token"),
            (None, None, {"auth_method": "agency", "security_token": "T"}, "Security token"),
            (None, "SK", {"auth_method": "agency"}, "Secret key (SK), password or token"),
            ("AK", None, {"auth_method": "agency"}, "Access key (AK) or IAM user"),
            ("AK", "SK", {"auth_method": "token"}, "Access key (AK) or IAM user"),
            (None, "pw", {"domain_name": "d"}, "Access key (AK) or IAM user"),
            ("AK", "SK", {"auth_method": "basic"}, "Authentication method"),
        ],
    )
    def test_a_missing_or_contradictory_field_is_named_as_the_form_labels_it(self, login, password, extra, label):
        assert f"'{label}'" in error_of(login, password, **extra)

    def test_agency_is_never_guessed(self):
        assert "agency" in error_of(None, None)

    @pytest.mark.parametrize(
        ("login", "password", "extra", "kind", "words"),
        [
            ("AK", "SK", {}, AkSkAuthenticator, "AK/SK"),
            ("AK", "SK", {"security_token": "T"}, AkSkAuthenticator, "temporary AK/SK"),
            (None, "T", {}, TokenAuthenticator, "token"),
            ("user", "pw", {"domain_name": "d"}, PasswordAuthenticator, "IAM user and password"),
            (None, None, {"auth_method": "agency"}, AgencyAuthenticator, "ECS agency"),
        ],
    )
    def test_the_client_authenticates_by_it(self, login, password, extra, kind, words):
        authenticator = read(login, password, **extra).client(calls_per_minute=90).authenticator
        assert (type(authenticator), authenticator.method) == (kind, words)


class TestEndpoint:
    @pytest.mark.parametrize(
        ("region", "endpoint", "iam"),
        [
            ("cn-north-4", "https://mpc.cn-north-4.myhuaweicloud.com", "https://iam.cn-north-4.myhuaweicloud.com"),
            ("cn-north-1", "https://mts.cn-north-1.myhuaweicloud.com", "https://iam.cn-north-1.myhuaweicloud.com"),
            ("cn-east-3", "https://mpc.cn-east-3.myhuaweicloud.com", "https://iam.cn-east-3.myhuaweicloud.com"),
            (
                "ap-southeast-3",
                "https://mpc.ap-southeast-3.myhuaweicloud.com",
                "https://iam.ap-southeast-3.myhuaweicloud.com",
            ),
            ("eu-west-101", "https://mpc.eu-west-101.myhuaweicloud.eu", "https://iam.eu-west-101.myhuaweicloud.eu"),
        ],
    )
    def test_it_follows_from_the_region(self, region, endpoint, iam):
        settings = read(region=region)
        assert (settings.endpoint, settings.iam_endpoint) == (endpoint, iam)

    @pytest.mark.parametrize(
        ("host", "port", "endpoint"),
        [
            ("mpc.example.com", None, "https://mpc.example.com"),
            ("mpc.example.com", 8443, "https://mpc.example.com:8443"),
            ("mpc.example.com:8443", None, "https://mpc.example.com:8443"),
            ("mpc.example.com:8443", 8443, "https://mpc.example.com:8443"),
            ("https://mpc.example.com", None, "https://mpc.example.com"),
            ("https://mpc.example.com/", None, "https://mpc.example.com"),
            ("https://mpc.example.com:443/", None, "https://mpc.example.com"),
            ("https://mpc.example.com", "443", "https://mpc.example.com"),
            ("http://127.0.0.1", 8080, "http://127.0.0.1:8080"),
            ("http://localhost:80", None, "http://localhost"),
            ("http://localhost:443", None, "http://localhost:443"),
            ("HTTPS://MPC.Example.com", None, "https://mpc.example.com"),
            ("[::1]", 8443, "https://[::1]:8443"),
            ("https://[2001:db8::1]:8443", None, "https://[2001:db8::1]:8443"),
            ("https://gw.example.com/mpc", None, "https://gw.example.com/mpc"),
            ("gw.example.com/mpc//", 8443, "https://gw.example.com:8443/mpc"),
            (None, 8443, "https://mpc.cn-north-4.myhuaweicloud.com:8443"),
            (" mpc.example.com ", " 8443 ", "https://mpc.example.com:8443"),
        ],
    )
    def test_host_and_port_win_over_the_region(self, host, port, endpoint):
        assert read(host=host, port=port).endpoint == endpoint

    @pytest.mark.parametrize(
        "host",
        [
            "ftp://mpc.example.com",
            "https://",
            "https://[::1",
            "::1",
            "mpc.example.com:port",
            "mpc.example.com:99999",
            "mpc.example.com:0",
            "two words",
            "https://user:hunter2@mpc.example.com",
            "https://user@mpc.example.com",
            "mpc.example.com?x=1",
            "mpc.example.com#x",
            "ftp://user:hunter2@mpc.example.com",
            "http://a\uff0fb",
        ],
    )
    def test_a_host_that_is_none_is_named(self, host):
        text = error_of(host=host)
        assert "'Endpoint' (host)" in text
        assert "hunter2" not in text

    @pytest.mark.parametrize("port", ["0", "65536", "-1", "x", "²", "80.5"])
    def test_a_port_that_is_none_is_named(self, port):
        assert "'Port' (port)" in error_of(host="mpc.example.com", port=port)

    def test_two_ports_contradict_each_other(self):
        assert "'Port' (port)" in error_of(host="mpc.example.com:1", port=2)

    def test_an_own_endpoint_needs_no_region(self):
        settings = read_connection(
            login="AK", password="SK", host="mpc.example.com", port=None, extra={"project_id": "p1"}
        )
        assert (settings.endpoint, settings.region) == ("https://mpc.example.com", None)

    def test_neither_region_nor_endpoint_is_an_error(self):
        with pytest.raises(MpcConfigurationError, match="'Region'"):
            read_connection(login="AK", password="SK", host=None, port=None, extra={"project_id": "p1"})

    def test_neither_region_nor_project_is_an_error(self):
        with pytest.raises(MpcConfigurationError, match="'Project ID'"):
            read_connection(login="AK", password="SK", host="mpc.example.com", port=None, extra={})

    @pytest.mark.parametrize("region", ["cn-north-4/x", "cn north 4", "-", "cn--north", "evil.example.com/", "a@b"])
    def test_a_region_that_is_none_is_named(self, region):
        assert "'Region' (region)" in error_of(region=region)

    @pytest.mark.parametrize(
        ("sent", "endpoint"),
        [
            ("https://iam.example.com/", "https://iam.example.com"),
            ("iam.example.com:8443", "https://iam.example.com:8443"),
        ],
    )
    def test_an_own_iam_is_used(self, sent, endpoint):
        assert read(iam_endpoint=sent).iam_endpoint == endpoint

    def test_an_own_iam_that_is_no_address_is_named(self):
        assert "'IAM endpoint' (iam_endpoint)" in error_of(iam_endpoint="https://")

    def test_the_iam_does_not_move_with_the_host(self):
        assert read(host="mpc.example.com").iam_endpoint == "https://iam.cn-north-4.myhuaweicloud.com"


class TestValues:
    @pytest.mark.parametrize("sent", [None, "", " ", True, "true", "True", "YES", "on", "1", 1])
    def test_tls_is_verified(self, sent):
        assert read(verify=sent).verify is True

    @pytest.mark.parametrize("sent", [False, "false", "FALSE", "no", "off", "0", 0])
    def test_tls_is_not_verified(self, sent):
        assert read(verify=sent).verify is False

    def test_tls_is_verified_by_a_file(self, tmp_path):
        import certifi

        assert read(verify=certifi.where()).verify == certifi.where()

    def test_a_folder_of_certificates_will_do(self, tmp_path):
        assert read(verify=str(tmp_path)).verify == str(tmp_path)

    def test_a_file_without_certificates_is_named(self, tmp_path):
        file = tmp_path / "ca.pem"
        file.write_text("no certificate")
        text = error_of(verify=str(file))
        assert "'Verify TLS' (verify)" in text
        assert "holds no certificates" in text

    def test_a_missing_ca_file_is_named(self):
        text = error_of(verify="/no/such/ca.pem")
        assert "'Verify TLS' (verify)" in text
        assert "/no/such/ca.pem" in text

    @pytest.mark.parametrize(
        ("sent", "seconds"), [(None, None), ("", None), ("5", 5.0), (5, 5.0), (0.5, 0.5), ("600", 600)]
    )
    def test_the_timeout_is_in_seconds(self, sent, seconds):
        assert read(timeout=sent).timeout == seconds

    @pytest.mark.parametrize("sent", ["0", "-1", "x", "601", "nan", "inf", "1e9"])
    def test_a_timeout_that_is_none_is_named(self, sent):
        assert "'Timeout' (timeout)" in error_of(timeout=sent)

    def test_the_timeout_reaches_the_client(self):
        assert read(timeout="7").client(calls_per_minute=90).transport.timeout == 7.0

    def test_without_one_the_clients_own_holds(self):
        assert read().client(calls_per_minute=90).transport.timeout == 30.0

    def test_whether_tls_is_verified_reaches_the_client(self):
        assert read(verify="no").client(calls_per_minute=90).transport.verify is False

    @pytest.mark.parametrize("sent", [["cn-north-4"], {"a": 1}, b"x"])
    def test_a_value_of_another_type_is_named(self, sent):
        assert "'Region' (region)" in error_of(region=sent)

    def test_numbers_in_extra_are_text(self):
        assert read(project_id=123).project_id == "123"

    def test_blanks_around_values_are_cut_off(self):
        settings = read(" AK ", " SK\n", region=" cn-north-4 ")
        assert (settings.login, settings.password, settings.region) == ("AK", "SK", "cn-north-4")

    @pytest.mark.parametrize(
        ("fields", "label"),
        [
            ({"password": "SK\nSK"}, "Secret key (SK), password or token"),
            ({"login": "A\u200bK"}, "Access key (AK) or IAM user"),
            ({"login": "A\u2013K"}, "Access key (AK) or IAM user"),
            ({"login": None, "password": "TÖKEN"}, "Secret key (SK), password or token"),
            ({"security_token": "TÖKEN"}, "Security token"),
            ({"security_token": "A\r\nX-Evil: 1"}, "Security token"),
            ({"project_id": "pröject"}, "Project ID"),
            ({"password": "\ud800"}, "Secret key (SK), password or token"),
        ],
    )
    def test_what_a_header_cannot_carry_is_named_but_not_shown(self, fields, label):
        text = error_of(**fields)
        assert f"'{label}'" in text
        assert "SK" not in text.replace("(SK)", "")
        assert "TÖKEN" not in text

    def test_a_password_may_hold_any_letters(self):
        assert read("user", "pässwörd 中", domain_name="d").password == "pässwörd 中"

    def test_extra_cannot_replace_airflows_own_fields(self):
        settings = read_connection(
            login="AK",
            password="SK",
            host=None,
            port=None,
            extra={**EXTRA, "login": "other", "password": "other", "host": "evil.example.com", "port": 1},
        )
        assert (settings.login, settings.password) == ("AK", "SK")
        assert settings.endpoint == "https://mpc.cn-north-4.myhuaweicloud.com"

    def test_unknown_extras_do_no_harm(self):
        assert read(obs_bucket="b", **{"extra__x": 1}) == read()


def test_a_connection_of_the_older_huaweicloud_provider_works_unchanged():
    settings = read_connection(
        login="AK0000",
        password="SK0000",
        host="",
        port=None,
        extra={"region": "cn-south-1", "project_id": "0123456789abcdef0123456789abcdef", "obs_bucket": "b"},
    )
    assert (settings.auth_method, settings.login, settings.password) == ("aksk", "AK0000", "SK0000")
    assert (settings.endpoint, settings.project_id) == (
        "https://mpc.cn-south-1.myhuaweicloud.com",
        "0123456789abcdef0123456789abcdef",
    )


class TestIdentity:
    def test_equal_connections_are_one_identity(self):
        assert read(timeout="5") == read(timeout=5)
        assert hash(read()) == hash(read())

    @pytest.mark.parametrize("changed", [{"login": "AK2"}, {"password": "SK2"}, {"project_id": "p2"}, {"host": "h"}])
    def test_a_changed_one_is_another(self, changed):
        assert read() != read(**changed)


class TestSecrets:
    CANARIES = ("AKCANARY", "SKCANARY", "TOKENCANARY")

    @pytest.mark.parametrize(
        ("login", "password", "extra"),
        [
            ("AKCANARY", "SKCANARY", {"security_token": "TOKENCANARY"}),
            ("AKCANARY", "SKCANARY", {"domain_name": "d"}),
            (None, "TOKENCANARY", {}),
        ],
    )
    def test_no_repr_shows_one(self, login, password, extra):
        settings = read(login, password, **extra)
        client = settings.client(calls_per_minute=90)
        shown = f"{settings!r}{settings}{client!r}{client}{client.authenticator!r}{client.transport!r}"
        assert not [canary for canary in self.CANARIES if canary in shown]


class TestForm:
    def test_it_shows_the_extra_fields(self):
        assert list(conn_fields()) == [
            *("auth_method", "region", "project_id", "domain_name", "security_token"),
            *("iam_endpoint", "verify", "timeout"),
        ]

    def test_it_says_what_each_field_is(self):
        declared = {one.name: one for one in FIELDS}
        for name, field in conn_fields().items():
            assert (field["label"], field["description"]) == (declared[name].label, declared[name].help)

    def test_it_hides_secrets(self):
        hidden = {name for name, field in conn_fields().items() if field["schema"].get("format") == "password"}
        assert hidden == {one.name for one in FIELDS if one.secret and one.in_extra} == {"security_token"}

    def test_it_offers_the_methods(self):
        assert conn_fields()["auth_method"]["schema"]["enum"] == ["aksk", "token", "password", "agency"]

    def test_it_may_be_left_empty(self):
        assert all("null" in field["schema"]["type"] for field in conn_fields().values())

    def test_airflows_own_fields_are_renamed(self):
        behaviour = ui_field_behaviour()
        assert set(behaviour["relabeling"]) == {"login", "password", "host", "port"}
        assert behaviour["hidden-fields"] == ["schema"]

    def test_placeholders_are_for_fields_that_are_shown(self):
        shown = {*conn_fields(), *ui_field_behaviour()["relabeling"]}
        assert set(ui_field_behaviour()["placeholders"]) <= shown

    def test_the_parser_reads_every_field_of_the_form(self):
        """A field that the form shows and the parser ignores would be a lie."""
        odd = {
            "auth_method": "nonsense",
            "region": "no region",
            "iam_endpoint": "https://",
            "verify": "/no/such/file",
            "timeout": "nonsense",
        }
        for name, value in odd.items():
            assert f"({name})" in error_of(**{name: value})
        settings = read("u", "p", project_id="p2", domain_name="d2")
        assert (settings.project_id, settings.domain_name) == ("p2", "d2")
        assert read(security_token="T").security_token == "T"

    def test_importing_the_declaration_is_cheap(self):
        import subprocess
        import sys

        code = (
            "import sys, airflow_provider_mpc.connection; "
            "print([name for name in ('requests', 'pydantic', 'pendulum', 'airflow') if name in sys.modules])"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "[]"


def test_each_field_is_declared_once():
    names = [one.name for one in connection.FIELDS]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("extra", [[1, 2], "text", 5, None])
def test_an_extra_that_is_no_object_is_told(extra):
    with pytest.raises(MpcConfigurationError, match="must be an object"):
        read_connection(login="AK", password="SK", host=None, port=None, extra=extra)


def test_a_regions_case_does_not_matter():
    assert read(region="CN-NORTH-1").endpoint == "https://mts.cn-north-1.myhuaweicloud.com"
    assert read(region="CN-NORTH-1").region == "cn-north-1"


@pytest.mark.parametrize(
    "other",
    [
        {"password": "another"},
        {"domain_name": "another"},
        {"project_id": "p2"},
        {"iam_endpoint": "https://iam.example.com"},
    ],
)
def test_users_of_one_name_are_not_one_identity(other):
    me = {"login": "user", "password": "pw", "domain_name": "d"}
    mine, same, theirs = (
        read(**fields).client(calls_per_minute=90).authenticator.identity for fields in (me, me, me | other)
    )
    assert mine == same
    assert mine != theirs


def test_an_agencys_project_id_goes_into_a_header_too():
    assert "not ASCII" in error_of(None, None, auth_method="agency", project_id="p\u00e4")

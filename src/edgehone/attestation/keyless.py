"""Keyless signatures of Sigstore: by an identity, of a person or of a job of a CI system, instead of a key.

To sign needs a network: an authority (Fulcio) gives a certificate of ten minutes for an identity token, and a public
log (Rekor) takes the signature up. To verify needs none: the signature carries the certificate and the proof of the
log, and the roots of trust are those that ship with the package sigstore, or those in a file.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgehone.attestation.errors import NotVerified
from edgehone.attestation.keys import Keyless, read_key_file
from edgehone.core.errors import InputError, SetupError

if TYPE_CHECKING:
    from sigstore.models import ClientTrustConfig

_TOKEN = "sigstore get-identity-token > token && chmod 600 token"
_CONFIG = "leave --trust-config out, or give the file that who runs the Sigstore instance publishes"


@dataclass(frozen=True)
class KeylessKey:
    """Signs as the identity of a token, with the instance of Sigstore in `config` (None: the public one)."""

    token: str
    config: str | None = None

    def seal(self, payload: bytes) -> bytes:
        """Return a statement, signed, as the content of a file. Raises SetupError if no signature could be had."""
        from sigstore.dsse import Statement
        from sigstore.oidc import IdentityToken
        from sigstore.sign import SigningContext

        try:
            context = SigningContext.from_trust_config(_configured(self.config, offline=False))
            with context.signer(IdentityToken(self.token)) as signer:
                bundle = signer.sign_dsse(Statement(payload))
        except InputError:
            raise
        except Exception as error:
            raise SetupError(
                f"no keyless signature could be had: {_words(error)}",
                hint="it needs a network and a fresh identity token; try again, or sign with --key FILE",
            ) from error
        return bundle.to_json().encode()


def read_keyless_key(token_file: str | Path | None, config_file: str | Path | None) -> KeylessKey:
    """Return what signs with the identity token in a file, or with that of the CI job that this is (None).

    Raises InputError if there is none, or if it has expired.
    """
    require_sigstore()
    from sigstore.oidc import IdentityError, IdentityToken, detect_credential

    config = _read_config(config_file)
    try:
        if token_file is not None:
            text = read_key_file(token_file, "the identity token", hint=_TOKEN, secret=True)
            token = text.decode("utf-8", "replace").strip()
        else:
            token = detect_credential() or ""
        if not token:
            raise InputError(
                "there is no identity token to sign with",
                hint=f"{_TOKEN}, then --identity-token token; or run it in a CI job that may ask for tokens",
            )
        IdentityToken(token)
    except IdentityError as error:
        raise InputError(f"the identity token cannot be used: {_words(error)}", hint=_TOKEN) from error
    return KeylessKey(token, config)


def read_keyless(identity: str, provider: str, config_file: str | Path | None) -> Keyless:
    """Return whose signatures are accepted. Raises InputError for a file that is no trust configuration."""
    require_sigstore()
    for option, value in (("--identity", identity), ("--identity-provider", provider)):
        if not value.strip():
            raise InputError(f"{option} is empty", hint=f"give the {option[2:]} of who signs")
    return Keyless(identity, provider, _read_config(config_file))


def check_keyless(text: str, name: str, accepted: Keyless) -> tuple[str, str, bytes]:
    """Return who signed, the type of the payload and the payload of a keyless signature, which messages call `name`.

    Raises NotVerified unless it is by whom is accepted, in the log, and written as sigstore writes it.
    """
    require_sigstore()
    from sigstore.errors import Error
    from sigstore.models import Bundle
    from sigstore.verify import Verifier, policy

    config = _configured(accepted.config, offline=True)
    who = policy.Identity(identity=accepted.identity, issuer=accepted.provider)
    try:
        bundle = Bundle.from_json(text)
        if bundle.to_json() != text:
            raise NotVerified(f"{name} is not written as sigstore writes it", hint=_hint(name))
        kind, payload = Verifier(trusted_root=config.trusted_root).verify_dsse(bundle, who)
    except (Error, ValueError, TypeError, AttributeError, KeyError, IndexError) as error:
        raise NotVerified(
            f"the keyless signature in {name} is not one of {accepted.identity} by {accepted.provider}: "
            f"{_words(error)}",
            hint=_hint(name),
        ) from error
    return f"{accepted.identity}, by {accepted.provider}", kind, payload


def require_sigstore() -> None:
    """Raise SetupError if the package for keyless signatures is missing."""
    try:
        import sigstore  # noqa: F401
    except ModuleNotFoundError as error:
        raise SetupError(
            "keyless signatures need the package sigstore, which is not installed",
            hint='pip install "edgehone[keyless]"',
        ) from error


def _configured(config: str | None, *, offline: bool) -> ClientTrustConfig:
    """Return a trust configuration; that of the public instance is brought up to date unless `offline`."""
    from sigstore.models import ClientTrustConfig

    if config is None:
        return ClientTrustConfig.production(offline=offline)
    try:
        return ClientTrustConfig.from_json(config)
    except Exception as error:
        raise InputError(f"the trust configuration cannot be read: {_words(error)}", hint=_CONFIG) from error


def _read_config(file: str | Path | None) -> str | None:
    if file is None:
        return None
    text = read_key_file(file, "the trust configuration", hint=_CONFIG).decode("utf-8", "replace")
    _configured(text, offline=True)
    return text


def _words(error: BaseException) -> str:
    """Return what an error says, in one line of moderate length."""
    return " ".join(str(error).split())[:300] or type(error).__name__


def _hint(name: str) -> str:
    return (
        f"check --identity and --identity-provider; else copy the bundle again from where {name} was signed"
    )

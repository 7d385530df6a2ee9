"""What a failed call to ZooKeeper means. Decides nothing else.

An error is definite only where ZooKeeper itself answered in a way that has one meaning. A lost connection, an
expired session, a timeout and everything unknown stay ``Unavailable``.
"""

from __future__ import annotations

from kazoo.exceptions import AuthFailedError, InvalidACLError, NoAuthError, NoChildrenForEphemeralsError

from arbiters.failures import NotSent
from haagent.arbiter import ArbiterError, Misconfigured, Unavailable


def explain(error: BaseException, root: str) -> ArbiterError:
    """Return what kazoo's ``error`` means for the registers below ``root``."""
    if isinstance(error, ArbiterError):
        return error
    if isinstance(error, NoAuthError):
        return Misconfigured(
            f"zookeeper refuses access to {root}: check username and password, and the ACL of znodes made without them"
        )
    if isinstance(error, AuthFailedError):
        return Misconfigured("zookeeper refuses our login: check auth, username and password")
    if isinstance(error, InvalidACLError):
        return Misconfigured("zookeeper does not know our user's scheme: check auth, username and password")
    if isinstance(error, NoChildrenForEphemeralsError):
        return Misconfigured(f"a znode above {root} is ephemeral; remove it or choose another chroot")
    return Unavailable(f"zookeeper: {str(error) or type(error).__name__}")


def explain_no_connection(targets: tuple[str, ...], last_words: str) -> ArbiterError:
    """Return why there is no connection, from what kazoo last complained of."""
    text = f"no connection to zookeeper {','.join(targets)}"
    if last_words:
        text += f": {last_words}"
    if "CERTIFICATE_VERIFY_FAILED" in last_words:
        return Misconfigured(f"{text}: check ca, and that the certificate names the endpoint's host")
    if "WRONG_VERSION_NUMBER" in last_words:
        return Misconfigured(f"{text}: does this port speak TLS (secureClientPort)?")
    return NotSent(text)

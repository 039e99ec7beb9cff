"""What an operator can do about a dead letter, by the code of its last failure."""

from __future__ import annotations

from crmgate.errors import Code

_REMEDIES: dict[Code, str] = {
    Code.CONNECTION_FAILED: "check that the CRM runs and that its address is right (`crmgate crm test`), then retry",
    Code.TIMEOUT: "the CRM answers too slowly: check its load, or raise CRM_TIMEOUT, then retry",
    Code.OUT_OF_TIME: "an attempt had too little time: raise CRM_TIMEOUT, then retry",
    Code.CONNECTION_DROPPED: "check the CRM and the proxy in front of it, then retry",
    Code.SERVER_ERROR: "the CRM failed: read its log, repair it, then retry",
    Code.MAINTENANCE: "wait for the end of the maintenance of the CRM, then retry",
    Code.INVALID_RESPONSE: "the address does not answer like the CRM: check it (`crmgate crm test`), then retry",
    Code.RATE_LIMITED: "retry later, with a lower CRM_MAX_CONCURRENCY if it happens again",
    Code.INVALID_VALUE: "allow the value in the CRM (`crmgate crm fields`), or edit the field, then retry",
    Code.INVALID_REQUEST: "the CRM refuses the request: compare the mapping (`crmgate crm fields`), then retry",
    Code.DUPLICATE: "the CRM has this person already: merge by hand and discard, or set CRM_ON_DUPLICATE and retry",
    Code.NOT_FOUND: "the record no longer exists in the CRM: retry creates another one, or discard",
    Code.UNSUPPORTED: "the CRM cannot do this: set up the CRM that has the record, or discard",
    Code.BAD_CREDENTIALS: "correct the credentials (`crmgate crm test`), then retry",
    Code.NO_PERMISSION: "give the account of crmgate the missing right in the CRM (`crmgate crm test`), then retry",
    Code.FORBIDDEN: "allow the account of crmgate to change this record in the CRM, then retry, or discard",
    Code.LOCKED_OUT: "wait until the CRM lets the account in again, or unlock it, then retry",
    Code.OUTCOME_UNKNOWN: "look whether it arrived: if so, discard it. A retry sends it again, perhaps a second time",
    Code.PLUGIN_BUG: "the plugin failed: read the log, repair or update the plugin, then retry",
}


def remedy(code: str, field: str = "") -> str:
    """The remedy for a failure in words. `field`: names of the refused CRM fields, separated by commas."""
    try:
        known = Code(code)
    except ValueError:  # without a failed attempt, or a code of a newer version
        return "look at each of them: `crmgate dlq list`"
    if field and known is Code.INVALID_VALUE:
        names = field.replace(",", ", ")
        return f"allow the value of {names} in the CRM (`crmgate crm fields`), or edit the field, then retry"
    return _REMEDIES[known]

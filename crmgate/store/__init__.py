"""Everything that crmgate keeps in Redis: the ledger and its scripts, the keys, tokens, limits, the audit trail."""

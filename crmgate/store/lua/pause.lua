-- Send nothing to a provider until an operator resumes it. Attempts under way end as usual.
-- Arguments:
--   audit  entry for the audit trail
--   to     provider
-- Answers the cause for which the gate was shut before, '' if it was open.
local cause = redis.call('HGET', GATE, 'cause') or ''
judge({what = 'pause'})
audit()
return cause

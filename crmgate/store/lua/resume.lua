-- End an operator's pause, or have a provider that is shut for another cause tried at once.
-- Arguments:
--   audit  entry for the audit trail
--   to     provider
-- Answers the cause for which the gate was shut, '' if it was open.
local cause = redis.call('HGET', GATE, 'cause') or ''
judge({what = 'resume'})
if next_probe(read_gate(), a.now, to.credentials, false, RULES) == 'operation' then pump_probe() end
pump_all()
audit()
return cause

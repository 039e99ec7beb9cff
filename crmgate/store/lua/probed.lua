-- Record the result of a connection test of the provider.
-- Arguments:
--   began    time at which the test began
--   ok       true: the test passed
--   refused  true: the CRM refused the credentials, or a right that every delivery needs
--   used     number of requests that were sent
--   to       provider
-- Answers {announcement, cause}: 'paused', 'recovered' or '', and the cause for which the gate is shut, or ''.
despite_full()
spend(a.used)
local what = a.ok and 'probe_passed' or a.refused and 'probe_refused' or 'probe_failed'
local effect = judge({what = what, began = a.began})
if a.ok then
  hurry()
  pump_all()
end
return {effect.announce or '', redis.call('HGET', GATE, 'cause') or ''}

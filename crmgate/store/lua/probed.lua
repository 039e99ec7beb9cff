-- Record what a probe of the provider found.
-- Arguments:
--   now      time of the caller
--   ok       true: the provider works
--   refused  true: it refuses the credentials
--   pause    seconds until refused credentials are tried again
--   used     number of requests that the probe sent
--   to       provider
-- Answers 'recovered' or 'paused' if the provider's gate changed its state, else 'recorded'.
despite_full()
spend(a.used)
local cause = redis.call('HGET', GATE, 'cause')
if a.ok then
  if cause == 'refused' or cause == 'trial' then return 'recorded' end  -- only a delivery opens those
  well(false)
  pump_all()
  return cause == 'outage' and 'recovered' or 'recorded'
end
if a.refused and cause ~= 'refused' then
  redis.call('HSET', GATE, 'cause', 'refused', 'until', a.now + a.pause, 'by', to.credentials, 'since', a.now)
  return 'paused'
end
return 'recorded'

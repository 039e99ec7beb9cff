-- Write down what a probe of the provider found.
-- a: now, ok, refused (the credentials), pause, probe, used (requests)
-- Answers 'recovered' or 'paused' if the provider changed its state, else 'recorded'.
despite_full()
spend(a.used)
local cause = redis.call('HGET', GATE, 'cause')
if a.ok then
  if cause == 'refused' or cause == 'trial' then return 'recorded' end  -- a delivery has to show that
  well(false)
  pump_all()
  return cause == 'outage' and 'recovered' or 'recorded'
end
if a.refused and cause ~= 'refused' then
  redis.call('HSET', GATE, 'cause', 'refused', 'until', a.now + a.pause, 'by', to.credentials, 'since', a.now)
  return 'paused'
end
return 'recorded'

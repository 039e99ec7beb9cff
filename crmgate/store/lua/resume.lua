-- Have a provider whose gate is shut tried again now.
-- Arguments:
--   now  time of the caller
--   to   provider
-- Answers what the gate was shut by, '' if it was open.
local cause = redis.call('HGET', GATE, 'cause')
if not cause then return '' end
redis.call('HSET', GATE, 'until', a.now)
if cause ~= 'outage' then pump(1) end
return cause

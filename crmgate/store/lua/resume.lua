-- Ask a provider again now that takes nothing. Answers what it was shut by, '' if it was not.   a: now
local cause = redis.call('HGET', GATE, 'cause')
if not cause then return '' end
redis.call('HSET', GATE, 'until', a.now)
if cause ~= 'outage' then pump(1) end
return cause

-- Wake the operations whose alarm has gone off; each alarm is set again for the case that the wake-up is lost too.
-- KEYS: due, wake list   ARGV: now, next alarm, most at once, wake message with @id@ in the place of the id
-- A long list of wake-ups means busy workers, not lost ones: more would only make it longer.
local room = tonumber(ARGV[3]) - redis.call('LLEN', KEYS[2])
if room <= 0 then return 0 end
local ids = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, room)
for _, id in ipairs(ids) do
  redis.call('ZADD', KEYS[1], ARGV[2], id)
  redis.call('LPUSH', KEYS[2], (string.gsub(ARGV[4], '@id@', id)))
end
return #ids

-- Take the lease on an operation that may be tried now.
-- KEYS: op, due, pause, held, verified   ARGV: id, now, lease, lease_until, alarm, next probe, credentials
-- Answers {'claimed', 0|1 (look in the CRM first), field, value ...} or {reason}.
local op = KEYS[1]
local state = redis.call('HGET', op, 'state')
if not state or state == 'delivered' or state == 'discarded' or state == 'dead' then
  redis.call('ZREM', KEYS[2], ARGV[1])
  return {state or 'unknown'}
end
local now = tonumber(ARGV[2])
if redis.call('HGET', op, 'verdict') == 'dead' then return {'exhausted'} end
local lease = redis.call('HGET', op, 'lease')
local lease_until = tonumber(redis.call('HGET', op, 'lease_until') or '0')
if lease and lease ~= '' and lease ~= ARGV[3] and lease_until > now then return {'leased'} end
local due = tonumber(redis.call('HGET', op, 'due_at') or '0')
if due > now then
  redis.call('ZADD', KEYS[2], due, ARGV[1])
  return {'early'}
end
local probe = redis.call('HGET', KEYS[3], 'until')
if probe and tonumber(probe) > now and lease ~= ARGV[3] then
  redis.call('HSET', op, 'state', 'waiting')
  redis.call('ZADD', KEYS[4], now, ARGV[1])
  redis.call('ZADD', KEYS[2], probe, ARGV[1])
  return {'held'}
end
-- This operation is the probe of a paused provider, or of credentials that never worked: the others wait for what
-- becomes of it.
if redis.call('HGET', KEYS[3], 'refused') == '1' then redis.call('HSET', KEYS[3], 'until', ARGV[6])
elseif probe or redis.call('GET', KEYS[5]) ~= ARGV[7] then redis.call('HSET', KEYS[3], 'until', ARGV[4]) end
local look = redis.call('HGET', op, 'look') or '0'
if lease and lease ~= '' then look = '1' end  -- somebody held it and never said what became of it
redis.call('HSET', op, 'state', 'delivering', 'lease', ARGV[3], 'lease_until', ARGV[4], 'look', look)
redis.call('ZADD', KEYS[2], ARGV[5], ARGV[1])
return {'claimed', look, unpack(redis.call('HGETALL', op))}

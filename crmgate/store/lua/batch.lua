-- End an attempt that sent several operations together, after their outcomes were recorded.
-- Arguments:
--   lease  lease of the operation that took the slot and the requests of the attempt
--   used   number of requests that were sent
--   alone  operations that were not sent, and that are from now on sent alone:
--          {id, lease, '1' if the CRM has to be searched first or '0', time until which it may be processing an earlier request}
--   claim  lease on the next operation, absent: the caller takes none
--   to     provider
-- Answers the operations that the caller attempts next (take_next in take.lua), or nothing.
despite_full()
redis.call('ZREM', SLOTS, a.lease)
spend(a.used - to.reserve)
for _, one in ipairs(a.alone) do
  local id, lease, look, settles_at = unpack(one)
  local state, holder = unpack(redis.call('HMGET', op(id), 'state', 'lease'))
  if not ended(state) and holder == lease then
    redis.call('HSET', op(id), 'alone', '1', 'look', look, 'settles_at', settles_at)
    redis.call('HDEL', op(id), 'lease', 'lease_until')
    hold(id)
  end
end
pump_all()
return a.claim and take_next(a.claim)

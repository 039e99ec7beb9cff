-- Replace stored payloads by the same ones, encrypted with another key.
-- Arguments:
--   ids     operations
--   before  payload of each as it was read: another one has changed since, and stays
--   after   new payload of each
-- Answers the number of payloads that were replaced.
local replaced = 0
for i, id in ipairs(a.ids) do
  if redis.call('HGET', op(id), 'payload') == a.before[i] then
    redis.call('HSET', op(id), 'payload', a.after[i])
    replaced = replaced + 1
  elseif redis.call('GET', key.kept .. id) == a.before[i] then
    redis.call('SET', key.kept .. id, a.after[i], 'PX', redis.call('PTTL', key.kept .. id))
    replaced = replaced + 1
  end
end
return replaced

-- Correct the index of the causes of dead letters, after processes of a version without it have worked.
-- Arguments:
--   index  key of the index from which operations are removed that are no dead letters; '': the ids are entered
--   ids    operations
-- Answers 1.
despite_full()
for _, id in ipairs(a.ids) do
  local dead_at = redis.call('ZSCORE', key.dead, id)
  if a.index == '' then
    if dead_at and redis.call('HEXISTS', op(id), 'filed_under') == 0 then file(id, dead_at) end
  elseif not dead_at then
    local digest = string.sub(a.index, #key.cause + 1)
    remove_from(digest, id)
    if redis.call('HGET', op(id), 'filed_under') == digest then redis.call('HDEL', op(id), 'filed_under') end
  end
end
return 1

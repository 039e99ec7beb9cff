-- Test whether Redis runs the scripts of the ledger (crmgate.store.checks). It stands alone, without common.lua.
-- KEYS: the key of the test write
-- ARGV: seconds until that key expires
-- It uses a key that it does not declare, as the scripts of the ledger do. Answers 1.
redis.call('SET', KEYS[1], 1, 'EX', ARGV[1])
redis.call('EXISTS', key.due)
return 1

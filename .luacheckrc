-- The Lua scripts of the ledger run inside Redis. tests/luacheck.py puts them together as Redis gets them.
std = "lua51"
read_globals = {"redis", "cjson", "KEYS", "ARGV"}
max_line_length = 130

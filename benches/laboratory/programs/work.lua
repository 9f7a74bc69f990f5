-- Reads a log into tables, counts, substitutes, sorts, joins, builds and drops trees.
local hosts, counts, paths, bytes = {}, {}, {}, 0
for line in io.lines(arg[1]) do
  local fields = {}
  for field in line:gmatch("%S+") do
    fields[#fields + 1] = field
  end
  local list = hosts[fields[1]]
  if not list then
    list = {}
    hosts[fields[1]] = list
  end
  local entry = { method = fields[2], status = fields[4], words = {} }
  for i = 6, #fields do
    entry.words[#entry.words + 1] = fields[i]
    counts[fields[i]] = (counts[fields[i]] or 0) + 1
  end
  list[#list + 1] = entry
  paths[#paths + 1] = fields[3]:gsub("(%d)(%d)", "%2-%1")
  bytes = bytes + tonumber(fields[5])
end

local names = {}
for name in pairs(hosts) do
  names[#names + 1] = name
end
table.sort(names)
local sum = 0
for _, name in ipairs(names) do
  local parts = {}
  for _, entry in ipairs(hosts[name]) do
    parts[#parts + 1] = table.concat(entry.words, ",")
  end
  sum = (sum * 31 + #table.concat(parts, ";")) % 1000003
end

local words = {}
for word in pairs(counts) do
  words[#words + 1] = word
end
table.sort(words, function(a, b)
  return counts[a] > counts[b] or (counts[a] == counts[b] and a < b)
end)
table.sort(paths)

local function tree(depth, label)
  if depth == 0 then
    return { label = label }
  end
  return { label = label, left = tree(depth - 1, label * 3 % 1009), right = tree(depth - 1, label + 1) }
end
local function weight(node)
  return node.label + (node.left and weight(node.left) + weight(node.right) or 0)
end
local total = 0
for label = 1, 8 do
  total = total + weight(tree(14, label))
end
print(#names, bytes, sum, #words, words[1], words[#words], paths[1], paths[#paths], total)

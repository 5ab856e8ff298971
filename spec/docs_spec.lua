local helper = require "spec.helper"
local orrery = require "orrery"

--- The blocks of a guide that can be run, in Lua or sh, each with the text that
--- it should print.
local function blocks(path)
  local file <close> = assert(io.open(path))
  local list = {}
  local text = file:read("a")
  for language, code, expected in
    text:gmatch("```(%l+)\n([^`]-)```\n+```text\n(.-)```") do
    list[#list + 1] = { language = language, code = code, expected = expected }
  end
  local _, scripts = text:gsub("```%l+\n", "")
  assert(scripts == 2 * #list, "a block without the text that it prints")
  return list
end

local bin = require "luv".cwd() .. "/bin:"

--- What runs a block, and returns all that it prints. [w]
local run = {}

function run.lua(code)
  local result = helper.cli({ "-e", code },
    { env_extend = { LD_PRELOAD = false } })
  return result.stdout .. result.stderr
end

--- Runs a block of Lua from a file, which the workers of a cluster run as well.
function run.file(code)
  local folder = orrery.run("mktemp", { "-d" }, { trim = true }).stdout
  local file = assert(io.open(folder .. "/main.lua", "w"))
  file:write(code)
  file:close()
  local result = helper.cli({ "main.lua" },
    { cwd = folder, env_extend = { LD_PRELOAD = false } })
  orrery.run("rm", { "-r", folder })
  return result.stdout .. result.stderr
end

function run.sh(code)
  local folder = orrery.run("mktemp", { "-d" }, { trim = true }).stdout
  local result = orrery.sh("exec 2>&1\n" .. code, { cwd = folder,
    env_extend = { PATH = bin .. os.getenv("PATH"), MAKEFLAGS = false,
      MAKELEVEL = false } })
  orrery.run("rm", { "-r", folder })
  return result.stdout
end

for _, path in ipairs { "docs/child_process.md", "docs/channel.md",
  "docs/cluster.md", "docs/families.md", "docs/http.md", "docs/http_client.md",
  "docs/process.md", "docs/troubleshooting.md" } do
  describe(path, function()
    for i, block in ipairs(blocks(path)) do
      it(("block %d prints what it says"):format(i), function()
        helper.run(function()
          local runs = path == "docs/cluster.md" and "file" or block.language
          assert.equal(block.expected, run[runs](block.code))
        end)
      end)
    end
  end)
end

-- The pages themselves --------------------------------------------------------

local function read(path)
  local file <close> = assert(io.open(path))
  return file:read("a")
end

local function exists(path)
  return require "luv".fs_stat(path) ~= nil
end

--- Returns the pages that strangers read, by path.
local function pages()
  local list = { "README.md", "CONTRIBUTING.md", "CHANGELOG.md" }
  local names <close> = assert(io.popen("ls docs/*.md"))
  for name in names:lines() do list[#list + 1] = name end
  return list
end

--- Returns the links of a page that lead nowhere. A link is seen from the
--- page's folder, and its place in the other page is not looked at.
local function dead_links(path, text)
  local folder, dead = path:match("^(.*/)") or "", {}
  for target in text:gmatch("%]%(([^)#%s]+)#?[^)%s]*%)") do
    if not target:find("^%a+:") and not exists(folder .. target) then
      dead[#dead + 1] = target
    end
  end
  return dead
end

--- Returns the paths that a text names and that are not there: words that
--- begin with a folder of ours and end in a file's ending.
local function lost_paths(text)
  local lost = {}
  for _, folder in ipairs { "core", "lua", "spec", "bench", "docs" } do
    local pattern = "%f[%w./]" .. folder .. "/[%l%d_./-]+%.%l+%f[%W]"
    for path in text:gmatch(pattern) do
      if not exists(path) then lost[#lost + 1] = path end
    end
  end
  return lost
end

describe("the documentation", function()
  it("has an index that names every page", function()
    local index = read("docs/README.md")
    for _, path in ipairs(pages()) do
      local name = path:match("^docs/(.*)$") or "../" .. path
      if name ~= "README.md" then
        assert.is_truthy(index:find("](" .. name .. ")", 1, true), name)
      end
    end
  end)

  it("has links that lead somewhere", function()
    for _, path in ipairs(pages()) do
      assert.same({}, dead_links(path, read(path)), path)
    end
    assert.same({ "b.md" }, dead_links("README.md",
      "[a](README.md#x) [b](b.md) [c](https://example.org)"))
  end)

  it("names files that there are", function()
    for _, path in ipairs { "CONTRIBUTING.md", "docs/architecture.md" } do
      assert.same({}, lost_paths(read(path)), path)
    end
    assert.same({ "core/no.c" }, lost_paths "core/no.c, spec/helper.lua")
  end)
end)

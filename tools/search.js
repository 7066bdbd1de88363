// The search of the pages' sections, in place of Fuse: every word has to be there, names count more than text,
// and what people look for in their own words (tools/tasks.yml) comes first
const FILLERS = new Set(('a an and are be can could do does for from get how i if in into is it its me my of on or own our please should '
  + 'some that the there this to use using want what when where which with you your').split(' '))

const wordsOf = text => text.toLowerCase().split(/[^\p{L}\p{N}_+#.-]+/u).filter(Boolean)

window.Fuse = class {
  constructor(sections) {
    // in a task a word counts where it begins: "app" is not in "happens"; a name may be a part of another (LogMel)
    const part = (text, task) => task ? ' ' + wordsOf(text).join(' ') : text.toLowerCase()
    this.sections = sections.map(item => ({item, parts: [item.title, item.section, item.text].map(text => part(text, item.task))}))
  }

  scores({item, parts: [title, name, text]}, words) {
    return words.map(word => item.task ? ' ' + word : word).map(word => {
      const task = item.task && (name + text).includes(word)
      return 9*(name === word) + 4*name.includes(word) + 3*title.includes(word) + Math.min(2, text.split(word).length - 1) + (task ? 4 : 0)
    })
  }

  // the sections in which at least this share of the words occurs
  found(words, share, sections = this.sections) {
    return sections.map(section => ({item: section.item, scores: this.scores(section, words)}))
      .filter(({scores}) => scores.filter(Boolean).length >= share*words.length)
      .map(({item, scores}) => ({item, score: scores.reduce((a, b) => a + b)}))
      .sort((a, b) => b.score - a.score)
  }

  search(query, {limit}) {
    const all = wordsOf(query)
    const meant = all.filter(word => !FILLERS.has(word))
    const words = meant.length ? meant : all
    const stems = words.map(word => word.slice(0, Math.max(4, word.length - 3)))    // leakage: leak
    const hits = [() => this.found(words, 1), () => this.found(stems, 1),
      () => this.found(stems, .5, this.sections.filter(section => section.item.task))]
    for (const hit of hits) {
      const sections = hit()
      if (sections.length) return sections.slice(0, limit)
    }
    return []
  }
}

// A page opened as a file may not fetch its search index: there it comes as a script instead
if (location.protocol === 'file:') {
  window.fetch = address => new Promise((arrived, failed) => {
    const script = document.createElement('script')
    script.src = address.replace(/json$/, 'js')
    script.onload = () => arrived({ok: true, json: async () => window.searchIndex})
    script.onerror = failed
    document.head.append(script)
  })
}

// A result on the same page: the list makes way for it
addEventListener('hashchange', () => document.querySelectorAll('.smalldocs-search-results').forEach(list => list.classList.remove('show')))

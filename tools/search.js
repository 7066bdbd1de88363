// The search of the pages' sections, in place of Fuse: every word has to be there, and names count more than text
window.Fuse = class {
  constructor(sections) { this.sections = sections }

  score(section, words) {
    const [title, name, text] = [section.title, section.section, section.text].map(part => part.toLowerCase())
    const scores = words.map(word => 9*(name === word) + 4*name.includes(word) + 3*title.includes(word) + Math.min(2, text.split(word).length - 1))
    return scores.every(score => score > 0) ? scores.reduce((a, b) => a + b) : 0
  }

  found(words) {
    return this.sections.map(item => ({item, score: this.score(item, words)})).filter(hit => hit.score > 0).sort((a, b) => b.score - a.score)
  }

  search(query, {limit}) {
    const words = query.toLowerCase().split(/\s+/).filter(Boolean)
    const hits = this.found(words)
    return (hits.length ? hits : this.found(words.map(word => word.slice(0, Math.max(4, word.length - 3))))).slice(0, limit)  // leakage: leak
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

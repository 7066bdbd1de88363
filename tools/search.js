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

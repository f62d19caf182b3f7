import { defineConfig } from 'vite'
import { viteSingleFile } from 'vite-plugin-singlefile'

/** One file with all it needs, beside the code that fills in the data. */
export default defineConfig({
  plugins: [viteSingleFile({ removeViteModuleLoader: true })],
  build: {
    target: 'es2022',
    outDir: '../../../dist/report',
    emptyOutDir: false,
    rollupOptions: { input: 'page.html' },
  },
})

# From nothing to a service that solves Sudokus.
# In a project where `npm install hrm-native` was run: is everything as it should be on this machine?
npx hrm doctor

# A trained model comes with the package.
npx hrm demo

# Serve it; this is examples/solve-http.ts.
node solve-http.js node_modules/hrm-native/models/sudoku-4x4 0
